#include "rpc/spdk_config.h"

#include "rpc/json_reader.h"
#include "rpc/json_scanner.h"

namespace pollux::rpc {
namespace {

// The longest excerpt of a configuration that an error repeats.
constexpr size_t kShownMax = 80;

Status WrongKind(const std::string& place, std::string_view text, const char* wanted) {
  return ErrorOfField(EINVAL, place, text.substr(0, kShownMax),
                      absl::StrFormat("is no %s", wanted));
}

// Walks through the members of an object, or the elements of an array, that `text` must be.
template <typename Visit>
Status ForEachMember(const std::string& place, std::string_view text, Visit visit) {
  JsonReader reader(text);
  if (reader.Peek() != JsonKind::kObject) return WrongKind(place, text, "object");
  reader.EnterObject();
  for (std::string name; reader.NextMember(name);) RETURN_IF_ERROR(visit(name, reader.TakeText()));
  return OkStatus();
}
template <typename Visit>
Status ForEachElement(const std::string& place, std::string_view text, Visit visit) {
  JsonReader reader(text);
  if (reader.Peek() != JsonKind::kArray) return WrongKind(place, text, "array");
  reader.EnterArray();
  for (int i = 0; reader.NextElement(); ++i) {
    RETURN_IF_ERROR(visit(absl::StrFormat("%s[%d]", place, i), reader.TakeText()));
  }
  return OkStatus();
}

Status TakeString(const std::string& place, std::string_view text, std::string& out) {
  JsonReader reader(text);
  if (reader.Peek() != JsonKind::kString) return WrongKind(place, text, "string");
  out = reader.TakeString();
  return OkStatus();
}

// A call, or an array of such: a batch.
Status AddCalls(const std::string& place, std::string_view text, const std::string& subsystem,
                std::vector<ConfiguredCall>& calls) {
  if (JsonReader(text).Peek() == JsonKind::kArray) {
    return ForEachElement(place, text, [&](const std::string& inner, std::string_view element) {
      return AddCalls(inner, element, subsystem, calls);
    });
  }
  SavedCall call{.method = "", .params = "{}"};
  RETURN_IF_ERROR(ForEachMember(place, text, [&](const std::string& name, std::string_view value) {
    if (name == "method") return TakeString(place + ".method", value, call.method);
    if (name != "params" || JsonReader(value).Peek() == JsonKind::kNull) return OkStatus();
    if (JsonReader(value).Peek() != JsonKind::kObject) {
      return WrongKind(place + ".params", value, "object");
    }
    call.params = CompactJson(value);
    return OkStatus();
  }));
  if (call.method.empty()) return ErrorOfField(EINVAL, place + ".method", "", "is missing");
  calls.push_back({subsystem, std::move(call)});
  return OkStatus();
}

Status AddSection(const std::string& place, std::string_view text,
                  std::vector<ConfiguredCall>& calls) {
  std::string subsystem;
  std::string_view entries;
  RETURN_IF_ERROR(ForEachMember(place, text, [&](const std::string& name, std::string_view value) {
    if (name == "subsystem") return TakeString(place + ".subsystem", value, subsystem);
    if (name == "config") entries = value;
    return OkStatus();
  }));
  if (subsystem.empty()) return ErrorOfField(EINVAL, place + ".subsystem", "", "is missing");
  if (entries.empty() || JsonReader(entries).Peek() == JsonKind::kNull) return OkStatus();
  return ForEachElement(place + ".config", entries,
                        [&](const std::string& inner, std::string_view element) {
                          return AddCalls(inner, element, subsystem, calls);
                        });
}

}  // namespace

Result<std::vector<ConfiguredCall>> ParseSpdkConfig(std::string_view text) {
  RETURN_IF_ERROR(CheckJson(text, {.comments = true}));
  std::string_view sections;
  RETURN_IF_ERROR(
      ForEachMember("configuration", text, [&](const std::string& name, std::string_view value) {
        if (name == "subsystems") sections = value;
        return OkStatus();
      }));
  if (sections.empty()) return ErrorOfField(EINVAL, "subsystems", "", "is missing");
  std::vector<ConfiguredCall> calls;
  RETURN_IF_ERROR(ForEachElement("subsystems", sections,
                                 [&](const std::string& place, std::string_view section) {
                                   return AddSection(place, section, calls);
                                 }));
  return calls;
}

}  // namespace pollux::rpc
