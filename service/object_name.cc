#include "service/object_name.h"

namespace pollux::service {

using google::protobuf::FieldDescriptor;

std::string ObjectName(const std::string& kind, const rpc::Message& request) {
  const auto* reflection = request.GetReflection();
  for (int i = 0; i < request.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = request.GetDescriptor()->field(i);
    if (field->is_repeated() || field->options().GetExtension(v1::object) != kind) continue;
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        return reflection->GetString(request, field);
      case FieldDescriptor::CPPTYPE_INT32:
        return std::to_string(reflection->GetInt32(request, field));
      case FieldDescriptor::CPPTYPE_UINT32:
        return std::to_string(reflection->GetUInt32(request, field));
      default:
        break;
    }
  }
  return {};
}

std::unique_ptr<rpc::Message> SuccessOf(const rpc::Method& method) {
  const auto* type = method.descriptor->output_type();
  std::unique_ptr<rpc::Message> answer(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
  const FieldDescriptor* bare = type->FindFieldByName(method.options.bare());
  if (bare != nullptr && bare->cpp_type() == FieldDescriptor::CPPTYPE_BOOL) {
    answer->GetReflection()->SetBool(answer.get(), bare, true);
  }
  return answer;
}

}  // namespace pollux::service
