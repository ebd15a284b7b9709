#include "pollux/v1/files.h"
#include "rpc/dispatcher.h"

namespace pollux::rpc {

// The linker keeps each file's descriptors although nobody may refer to its symbols: pollux_proto
// in cmake/libraries.cmake asks for them by name, and lists the files.
std::vector<const ServiceDescriptor*> CompiledServices() {
  std::vector<const ServiceDescriptor*> services;
  for (const char* name : kProtoFiles) {
    const auto* file = google::protobuf::DescriptorPool::generated_pool()->FindFileByName(name);
    CHECK(file != nullptr, name);
    for (int i = 0; i < file->service_count(); ++i) services.push_back(file->service(i));
  }
  return services;
}

}  // namespace pollux::rpc
