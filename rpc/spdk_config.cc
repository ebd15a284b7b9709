#include "rpc/spdk_config.h"

#include <json/json.h>

#include <memory>

namespace pollux::rpc {
namespace {

std::string Compact(const Json::Value& value) {
  Json::StreamWriterBuilder builder;
  builder["indentation"] = "";
  return Json::writeString(builder, value);
}

Status AddCall(const std::string& place, const std::string& subsystem, const Json::Value& entry,
               std::vector<ConfiguredCall>& calls) {
  if (entry.isArray()) {
    for (Json::ArrayIndex i = 0; i < entry.size(); ++i) {
      RETURN_IF_ERROR(AddCall(absl::StrFormat("%s[%d]", place, i), subsystem, entry[i], calls));
    }
    return OkStatus();
  }
  if (!entry.isObject() || !entry["method"].isString()) {
    return InvalidField(place, Compact(entry), "is no object with a method");
  }
  const Json::Value& params = entry["params"];
  if (!params.isNull() && !params.isObject()) {
    return InvalidField(place + ".params", Compact(params), "is no object");
  }
  calls.push_back(
      {subsystem, {entry["method"].asString(), params.isNull() ? "{}" : Compact(params)}});
  return OkStatus();
}

Result<std::vector<ConfiguredCall>> Parse(std::string_view text) {
  Json::CharReaderBuilder builder;
  builder["allowComments"] = true;
  builder["failIfExtra"] = true;
  builder["rejectDupKeys"] = true;
  const std::unique_ptr<Json::CharReader> reader(builder.newCharReader());
  Json::Value root;
  std::string errors;
  if (!reader->parse(text.data(), text.data() + text.size(), &root, &errors)) {
    return InvalidArgument("the configuration is no JSON: %s", errors);
  }
  if (!root.isObject() || !root["subsystems"].isArray()) {
    return InvalidArgument("the configuration has no array 'subsystems'");
  }
  std::vector<ConfiguredCall> calls;
  const Json::Value& sections = root["subsystems"];
  for (Json::ArrayIndex s = 0; s < sections.size(); ++s) {
    const Json::Value& section = sections[s];
    const std::string place = absl::StrFormat("subsystems[%d]", s);
    if (!section.isObject() || !section["subsystem"].isString()) {
      return InvalidField(place, Compact(section), "is no object with a name in 'subsystem'");
    }
    const Json::Value& entries = section["config"];
    if (entries.isNull()) continue;
    if (!entries.isArray()) {
      return InvalidField(place + ".config", Compact(entries), "is neither an array nor null");
    }
    for (Json::ArrayIndex i = 0; i < entries.size(); ++i) {
      RETURN_IF_ERROR(AddCall(absl::StrFormat("%s.config[%d]", place, i),
                              section["subsystem"].asString(), entries[i], calls));
    }
  }
  return calls;
}

}  // namespace

Result<std::vector<ConfiguredCall>> ParseSpdkConfig(std::string_view text) {
  try {
    return Parse(text);
  } catch (const Json::Exception& exception) {  // Nesting beyond the reader's stack.
    return InvalidArgument("the configuration is no JSON: %s", exception.what());
  }
}

}  // namespace pollux::rpc
