#pragma once
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/status.h"

namespace pollux::rpc {

// Makes requests complete, as Dispatcher::Complete promises. What there is to do for each type of
// message is worked out once, when the type is added: most have nothing, and calls are frequent.
class Completer {
 public:
  // The type of a request, and with it all types of its fields. CHECKs that each (default) decodes
  // and stands at a field that can be absent.
  void AddType(const google::protobuf::Descriptor* type);
  Status Complete(google::protobuf::Message& message) const;

 private:
  using FieldDescriptor = google::protobuf::FieldDescriptor;
  struct Plan {
    // A message with all its (default) fields set: they are merged from here.
    std::unique_ptr<google::protobuf::Message> defaults;
    std::vector<const FieldDescriptor*> defaulted;
    std::vector<const FieldDescriptor*> required;
    std::vector<const FieldDescriptor*> enums;
    std::vector<const FieldDescriptor*> messages;
  };
  void AddField(const FieldDescriptor* field, Plan& plan);
  Status CompleteAt(google::protobuf::Message& message, const std::string& path) const;
  Status CompleteField(google::protobuf::Message& message, const FieldDescriptor* field,
                       const std::string& path) const;

  std::map<const google::protobuf::Descriptor*, Plan> plans_;
};

}  // namespace pollux::rpc
