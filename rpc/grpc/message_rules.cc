#include "rpc/grpc/message_rules.h"

#include <google/protobuf/descriptor.h>

#include <cmath>
#include <string>
#include <vector>

#include "pollux/v1/options.pb.h"
#include "rpc/json_codec.h"
#include "rpc/json_scanner.h"

namespace pollux::rpc {
namespace {

using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

std::vector<const FieldDescriptor*> FieldsOf(const Message& message) {
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  return fields;
}

// One value: the field's, or its `index`th.
class Value {
 public:
  Value(const Message& message, const FieldDescriptor& field, int index)
      : message_(message), field_(field), index_(index), r_(*message.GetReflection()) {}

  Status Check(const std::string& path) const {
    switch (field_.cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        return CheckText(path);
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return CheckNumber(path, list() ? r_.GetRepeatedDouble(message_, &field_, index_)
                                        : r_.GetDouble(message_, &field_));
      case FieldDescriptor::CPPTYPE_FLOAT:
        return CheckNumber(path, list() ? r_.GetRepeatedFloat(message_, &field_, index_)
                                        : r_.GetFloat(message_, &field_));
      case FieldDescriptor::CPPTYPE_ENUM:
        if (!list() || !IsAbsentEnum()) return OkStatus();
        return ErrorOfField(EINVAL, path, "0", "is no value that a list may have");
      default:
        return OkStatus();
    }
  }

  // The zero that JSON has no word for.
  bool IsAbsentEnum() const {
    const int number = list() ? r_.GetRepeatedEnumValue(message_, &field_, index_)
                              : r_.GetEnumValue(message_, &field_);
    const EnumValueDescriptor* value = field_.enum_type()->FindValueByNumber(number);
    return number == 0 && value != nullptr && JsonValueOf(*value).empty();
  }

 private:
  bool list() const { return index_ >= 0; }

  Status CheckText(const std::string& path) const {
    if (field_.type() == FieldDescriptor::TYPE_BYTES) return OkStatus();
    std::string scratch;
    const std::string& text =
        list() ? r_.GetRepeatedStringReference(message_, &field_, index_, &scratch)
               : r_.GetStringReference(message_, &field_, &scratch);
    const auto& options = field_.options();
    const std::string& shown = options.GetExtension(v1::secret) ? "(secret)" : text;
    if (text.find('\0') != std::string::npos) {
      return ErrorOfField(EINVAL, path, shown, "must not contain NUL");
    }
    if (!options.GetExtension(v1::raw_json) || text.empty()) return OkStatus();
    if (const Status json = CheckJson(text, {}); !json.ok()) {
      return InvalidField(path, shown, "must be JSON: %s", json.message());
    }
    return OkStatus();
  }

  static Status CheckNumber(const std::string& path, double value) {
    if (std::isfinite(value)) return OkStatus();
    return InvalidField(path, value, "must be a finite number");
  }

  const Message& message_;
  const FieldDescriptor& field_;
  const int index_;
  const Reflection& r_;
};

Status HoldFieldToJson(Message& message, const FieldDescriptor& field, const std::string& path) {
  const Reflection& r = *message.GetReflection();
  const bool nested = field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
  if (!field.is_repeated()) {
    const Value value(message, field, -1);
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM && value.IsAbsentEnum()) {
      r.ClearField(&message, &field);
      return OkStatus();
    }
    RETURN_IF_ERROR(value.Check(path));
    return nested ? Within(path, HoldToJson(*r.MutableMessage(&message, &field))) : OkStatus();
  }
  for (int i = 0; i < r.FieldSize(message, &field); ++i) {
    const std::string place = absl::StrFormat("%s[%d]", path, i);
    RETURN_IF_ERROR(Value(message, field, i).Check(place));
    if (!nested) continue;
    RETURN_IF_ERROR(Within(place, HoldToJson(*r.MutableRepeatedMessage(&message, &field, i))));
  }
  return OkStatus();
}

}  // namespace

Status HoldToJson(Message& request) {
  for (const FieldDescriptor* field : FieldsOf(request)) {
    RETURN_IF_ERROR(HoldFieldToJson(request, *field, JsonKey(*field)));
  }
  return OkStatus();
}

void RemoveSecrets(Message& response) {
  const Reflection& r = *response.GetReflection();
  for (const FieldDescriptor* field : FieldsOf(response)) {
    if (field->options().GetExtension(v1::secret)) {
      r.ClearField(&response, field);
    } else if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
      continue;
    } else if (!field->is_repeated()) {
      RemoveSecrets(*r.MutableMessage(&response, field));
    } else {
      for (int i = 0; i < r.FieldSize(response, field); ++i) {
        RemoveSecrets(*r.MutableRepeatedMessage(&response, field, i));
      }
    }
  }
}

}  // namespace pollux::rpc
