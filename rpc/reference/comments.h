#pragma once
#include <map>
#include <string>
#include <string_view>

#include "core/status.h"

namespace pollux::rpc {

// What the .proto files say about what they declare. The descriptors compiled into the program have
// no comments; a descriptor set has them, and takes longer to read than most calls.
class Comments {
 public:
  // Fails when `descriptor_set` is no serialised FileDescriptorSet.
  static Result<Comments> Parse(std::string_view descriptor_set);

  // The comment that stands before a service, method, message or field, without the comment's
  // signs; "" without one.
  template <typename AnyDescriptor>
  std::string Of(const AnyDescriptor& descriptor) const {
    return At(descriptor.full_name());
  }

 private:
  std::string At(const std::string& full_name) const;

  std::map<std::string, std::string> by_name_;
};

// The first sentence of a comment, as one line.
std::string FirstSentence(const std::string& comment);

}  // namespace pollux::rpc
