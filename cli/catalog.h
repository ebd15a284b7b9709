#pragma once
#include <google/protobuf/descriptor.h>

#include <string>
#include <string_view>
#include <vector>

#include "pollux/v1/options.pb.h"

// The methods as the descriptors define them. Nothing here names one.

namespace pollux::cli {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::MethodDescriptor;

// A method as the command line sees it.
struct Command {
  std::string name;  // JSON-RPC's.
  const MethodDescriptor* method;
  // The response field that is the whole result; null: the response itself is.
  const FieldDescriptor* bare;
  // The fields that stand before the flags: those required, in order, then those that may.
  std::vector<const FieldDescriptor*> positional;

  const Descriptor& request() const { return *method->input_type(); }
  const Descriptor& response() const { return *method->output_type(); }
  // A field of the request by its name, written with underscores or dashes. Null: there is none.
  const FieldDescriptor* FindField(std::string_view flag) const;
};

// The methods of one service.
struct Group {
  const google::protobuf::ServiceDescriptor* service;
  std::vector<Command> commands;
};

// All methods that are compiled into the program.
class Catalog {
 public:
  Catalog();

  const std::vector<Group>& groups() const { return groups_; }
  const Command* Find(std::string_view name) const;
  // Names that differ little from one that does not exist, best first; at most three.
  std::vector<std::string> NamesLike(std::string_view name) const;

 private:
  std::vector<Group> groups_;
};

bool IsRequired(const FieldDescriptor& field);
// What short forms can write without a doubt: no list, no map, no message.
bool IsScalar(const FieldDescriptor& field);

}  // namespace pollux::cli
