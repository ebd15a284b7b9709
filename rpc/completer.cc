#include "rpc/completer.h"

#include <google/protobuf/unknown_field_set.h>

#include "core/check.h"
#include "pollux/v1/options.pb.h"
#include "rpc/json_codec.h"

namespace pollux::rpc {

using google::protobuf::Descriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::Message;
using google::protobuf::MessageFactory;
using google::protobuf::Reflection;

namespace {

std::string PathOf(const std::string& path, const google::protobuf::FieldDescriptor& field) {
  return path.empty() ? JsonKey(field) : absl::StrFormat("%s.%s", path, JsonKey(field));
}

std::string AtIndex(const std::string& path, int index) {
  return absl::StrFormat("%s[%d]", path, index);
}

}  // namespace

void Completer::AddType(const Descriptor* type) {
  const auto [entry, is_new] = plans_.try_emplace(type);
  if (!is_new) return;
  Plan& plan = entry->second;  // A map's entries stay where they are.
  plan.defaults.reset(MessageFactory::generated_factory()->GetPrototype(type)->New());
  for (int i = 0; i < type->field_count(); ++i) AddField(type->field(i), plan);
}

void Completer::AddField(const FieldDescriptor* field, Plan& plan) {
  const auto& options = field->options();
  if (options.HasExtension(v1::default_)) {
    CHECK(field->has_presence(), "a field with a default cannot be absent: make it optional");
    const Status decoded = DecodeField(options.GetExtension(v1::default_), *field, *plan.defaults);
    CHECK(decoded.ok(), decoded.ToString().c_str());
    plan.defaulted.push_back(field);
  }
  if (options.GetExtension(v1::required) && field->has_presence()) plan.required.push_back(field);
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_ENUM) plan.enums.push_back(field);
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    plan.messages.push_back(field);
    AddType(field->message_type());
  }
}

Status Completer::Complete(Message& message) const { return CompleteAt(message, ""); }

Status Completer::CompleteAt(Message& message, const std::string& path) const {
  const Reflection& r = *message.GetReflection();
  const auto found = plans_.find(message.GetDescriptor());
  CHECK(found != plans_.end(), "a request of a type that no method has");
  const Plan& plan = found->second;

  if (const auto& unknown = r.GetUnknownFields(message); !unknown.empty()) {
    return ErrorOfField(EINVAL, path.empty() ? "params" : path,
                        absl::StrFormat("field number %d", unknown.field(0).number()),
                        "is unknown");
  }
  for (const FieldDescriptor* field : plan.required) {
    if (r.HasField(message, field)) continue;
    return ErrorOfField(EINVAL, PathOf(path, *field), "", "is required");
  }
  for (const FieldDescriptor* field : plan.enums) {
    const int size = field->is_repeated() ? r.FieldSize(message, field) : 1;
    for (int i = 0; i < size; ++i) {
      const int value = field->is_repeated() ? r.GetRepeatedEnumValue(message, field, i)
                                             : r.GetEnumValue(message, field);
      if (field->enum_type()->FindValueByNumber(value) != nullptr) continue;
      return InvalidField(PathOf(path, *field), value, "is no value of %s",
                          field->enum_type()->name());
    }
  }
  for (const FieldDescriptor* field : plan.messages) {
    RETURN_IF_ERROR(CompleteField(message, field, path));
  }
  // Absent ones are filled in by merging what is absent: the defaults, without what is present.
  bool all_absent = !plan.defaulted.empty();
  for (const FieldDescriptor* field : plan.defaulted) {
    all_absent = all_absent && !r.HasField(message, field);
  }
  if (all_absent) {
    message.MergeFrom(*plan.defaults);
    return OkStatus();
  }
  for (const FieldDescriptor* field : plan.defaulted) {
    if (r.HasField(message, field)) continue;
    const Status decoded =
        DecodeField(field->options().GetExtension(v1::default_), *field, message);
    CHECK(decoded.ok());
  }
  return OkStatus();
}

Status Completer::CompleteField(Message& message, const FieldDescriptor* field,
                                const std::string& path) const {
  const Reflection& r = *message.GetReflection();
  if (!field->is_repeated()) {
    if (!r.HasField(message, field)) return OkStatus();
    return CompleteAt(*r.MutableMessage(&message, field), PathOf(path, *field));
  }
  const int size = r.FieldSize(message, field);
  for (int i = 0; i < size; ++i) {
    const std::string below = AtIndex(PathOf(path, *field), i);
    RETURN_IF_ERROR(CompleteAt(*r.MutableRepeatedMessage(&message, field, i), below));
  }
  return OkStatus();
}

}  // namespace pollux::rpc
