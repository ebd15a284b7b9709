#include "rpc/grpc/reflection.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <set>

#include "grpc/reflection/v1alpha/reflection.pb.h"

namespace pollux::rpc {
namespace {

using google::protobuf::DescriptorPool;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using ::grpc::reflection::v1alpha::ServerReflectionRequest;
using ::grpc::reflection::v1alpha::ServerReflectionResponse;

const DescriptorPool& Pool() { return *DescriptorPool::generated_pool(); }

void AnswerError(ServerReflectionResponse& response, GrpcCode code, const std::string& message) {
  response.mutable_error_response()->set_error_code(static_cast<int>(code));
  response.mutable_error_response()->set_error_message(message);
}

// The file, then what it imports, each once.
void AddFiles(const FileDescriptor& file, std::set<const FileDescriptor*>& added,
              ServerReflectionResponse& response) {
  if (!added.insert(&file).second) return;
  google::protobuf::FileDescriptorProto proto;
  file.CopyTo(&proto);
  response.mutable_file_descriptor_response()->add_file_descriptor_proto(proto.SerializeAsString());
  for (int i = 0; i < file.dependency_count(); ++i) AddFiles(*file.dependency(i), added, response);
}

void AnswerFile(ServerReflectionResponse& response, const FileDescriptor* file,
                const std::string& wanted) {
  if (file == nullptr) return AnswerError(response, GrpcCode::kNotFound, "not found: " + wanted);
  std::set<const FileDescriptor*> added;
  AddFiles(*file, added, response);
}

const FileDescriptor* FileOfExtension(const std::string& type_name, int number) {
  const auto* type = Pool().FindMessageTypeByName(type_name);
  if (type == nullptr) return nullptr;
  const FieldDescriptor* extension = Pool().FindExtensionByNumber(type, number);
  return extension == nullptr ? nullptr : extension->file();
}

void AnswerExtensionNumbers(ServerReflectionResponse& response, const std::string& type_name) {
  const auto* type = Pool().FindMessageTypeByName(type_name);
  if (type == nullptr) {
    return AnswerError(response, GrpcCode::kNotFound, "not found: " + type_name);
  }
  std::vector<const FieldDescriptor*> extensions;
  Pool().FindAllExtensions(type, &extensions);
  auto& numbers = *response.mutable_all_extension_numbers_response();
  numbers.set_base_type_name(type_name);
  for (const FieldDescriptor* extension : extensions) {
    numbers.add_extension_number(extension->number());
  }
}

}  // namespace

Task<void> GrpcReflection::Info(std::shared_ptr<GrpcStream> stream) {
  for (;;) {
    const std::optional<std::string> question = co_await stream->Receive();
    if (!question.has_value()) break;
    const std::string answer = Answer(*question);
    if (answer.empty()) {
      stream->Finish({.code = GrpcCode::kInvalidArgument,
                      .message = "a grpc.reflection.v1alpha.ServerReflectionRequest is wanted"});
      co_return;
    }
    const bool sent = co_await stream->Send(answer);
    if (!sent) break;
  }
  stream->Finish({});
}

std::string GrpcReflection::Answer(const std::string& question) const {
  ServerReflectionRequest request;
  if (!request.ParseFromString(question)) return {};
  ServerReflectionResponse response;
  response.set_valid_host(request.host());
  *response.mutable_original_request() = request;
  switch (request.message_request_case()) {
    case ServerReflectionRequest::kFileByFilename:
      AnswerFile(response, Pool().FindFileByName(request.file_by_filename()),
                 request.file_by_filename());
      break;
    case ServerReflectionRequest::kFileContainingSymbol:
      AnswerFile(response, Pool().FindFileContainingSymbol(request.file_containing_symbol()),
                 request.file_containing_symbol());
      break;
    case ServerReflectionRequest::kFileContainingExtension: {
      const auto& wanted = request.file_containing_extension();
      AnswerFile(response, FileOfExtension(wanted.containing_type(), wanted.extension_number()),
                 wanted.containing_type());
      break;
    }
    case ServerReflectionRequest::kAllExtensionNumbersOfType:
      AnswerExtensionNumbers(response, request.all_extension_numbers_of_type());
      break;
    case ServerReflectionRequest::kListServices:
      for (const std::string& name : services_) {
        response.mutable_list_services_response()->add_service()->set_name(name);
      }
      break;
    case ServerReflectionRequest::MESSAGE_REQUEST_NOT_SET:
      AnswerError(response, GrpcCode::kInvalidArgument, "the request asks for nothing");
      break;
  }
  return response.SerializeAsString();
}

}  // namespace pollux::rpc
