#include "cli/catalog.h"

#include <algorithm>

#include "cli/likeness.h"
#include "rpc/dispatcher.h"
#include "rpc/json_codec.h"

namespace pollux::cli {
namespace {

std::string WithUnderscores(std::string_view name) {
  std::string out(name);
  std::replace(out.begin(), out.end(), '-', '_');
  return out;
}

Command MakeCommand(const MethodDescriptor& method) {
  const v1::Rpc& options = method.options().GetExtension(v1::rpc);
  Command command{.name = options.name(),
                  .method = &method,
                  .bare = method.output_type()->FindFieldByName(options.bare()),
                  .positional = {}};
  const Descriptor& request = *method.input_type();
  for (int i = 0; i < request.field_count(); ++i) {
    if (IsRequired(*request.field(i))) command.positional.push_back(request.field(i));
  }
  for (int i = 0; i < request.field_count(); ++i) {
    const FieldDescriptor& field = *request.field(i);
    if (!IsRequired(field) && field.options().GetExtension(v1::positional)) {
      command.positional.push_back(&field);
    }
  }
  return command;
}

}  // namespace

const FieldDescriptor* Command::FindField(std::string_view flag) const {
  const std::string wanted = WithUnderscores(flag);
  for (int i = 0; i < request().field_count(); ++i) {
    if (WithUnderscores(rpc::JsonKey(*request().field(i))) == wanted) return request().field(i);
  }
  return nullptr;
}

Catalog::Catalog() {
  for (const auto* service : rpc::CompiledServices()) {
    Group group{.service = service, .commands = {}};
    for (int i = 0; i < service->method_count(); ++i) {
      const MethodDescriptor& method = *service->method(i);
      if (method.options().HasExtension(v1::rpc)) group.commands.push_back(MakeCommand(method));
    }
    if (!group.commands.empty()) groups_.push_back(std::move(group));
  }
}

const Command* Catalog::Find(std::string_view name) const {
  const std::string wanted = WithUnderscores(name);
  for (const Group& group : groups_) {
    for (const Command& command : group.commands) {
      if (command.name == wanted) return &command;
    }
  }
  return nullptr;
}

std::vector<std::string> Catalog::NamesLike(std::string_view name) const {
  constexpr size_t kNamesMax = 3;
  const std::string wanted = WithUnderscores(name);
  std::vector<std::pair<size_t, std::string>> near;
  for (const Group& group : groups_) {
    for (const Command& command : group.commands) {
      const size_t distance = EditDistance(wanted, command.name);
      if (IsLike(wanted, command.name)) near.emplace_back(distance, command.name);
    }
  }
  std::sort(near.begin(), near.end());
  std::vector<std::string> names;
  for (const auto& [distance, one] : near) {
    if (names.size() < kNamesMax) names.push_back(one);
  }
  return names;
}

bool IsRequired(const FieldDescriptor& field) { return field.options().GetExtension(v1::required); }

bool IsScalar(const FieldDescriptor& field) {
  return !field.is_repeated() && field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE;
}

}  // namespace pollux::cli
