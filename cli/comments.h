#pragma once
#include <google/protobuf/descriptor.h>

#include <memory>
#include <string>
#include <string_view>

#include "core/status.h"

namespace pollux::cli {

// What the .proto files say about what they declare. The descriptors compiled into the program have
// no comments; a descriptor set has them, and takes longer to read than most calls.
class Comments {
 public:
  // Fails when `descriptor_set` is no serialised FileDescriptorSet that is complete in itself.
  static Result<std::unique_ptr<Comments>> Parse(std::string_view descriptor_set);

  // The comment that stands before the declaration, without the comment's signs; "" without one.
  std::string Of(const google::protobuf::ServiceDescriptor& service) const;
  std::string Of(const google::protobuf::MethodDescriptor& method) const;
  std::string Of(const google::protobuf::FieldDescriptor& field) const;

 private:
  Comments() = default;

  google::protobuf::DescriptorPool pool_;
};

// The first sentence of a comment, as one line.
std::string FirstSentence(const std::string& comment);

}  // namespace pollux::cli
