#pragma once
#include <string_view>

namespace pollux::rpc {

// The descriptor set that the build made of proto/, with comments: a serialised FileDescriptorSet.
std::string_view EmbeddedDescriptors();

}  // namespace pollux::rpc
