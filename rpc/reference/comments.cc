#include "rpc/reference/comments.h"

#include <google/protobuf/arena.h>
#include <google/protobuf/descriptor.pb.h>

#include <algorithm>

namespace pollux::rpc {
namespace {

using google::protobuf::FileDescriptorProto;
using google::protobuf::FileDescriptorSet;

// The full name of what a path leads to, where that is a service, a method, a message or a field;
// else "". A
// path consists of field numbers of descriptor.proto, each with an index.
std::string NameAt(const FileDescriptorProto& file, const std::vector<int>& path) {
  const auto is = [&path](std::initializer_list<int> numbers) {
    if (path.size() != 2 * numbers.size()) return false;
    const int* number = numbers.begin();
    for (size_t i = 0; i < path.size(); i += 2) {
      if (path[i] != *number++ || path[i + 1] < 0) return false;
    }
    return true;
  };
  constexpr int kService = FileDescriptorProto::kServiceFieldNumber;
  constexpr int kMethod = google::protobuf::ServiceDescriptorProto::kMethodFieldNumber;
  constexpr int kMessage = FileDescriptorProto::kMessageTypeFieldNumber;
  constexpr int kField = google::protobuf::DescriptorProto::kFieldFieldNumber;
  const std::string prefix = file.package() + ".";
  if (is({kService}) && path[1] < file.service_size()) {
    return prefix + file.service(path[1]).name();
  }
  if (is({kService, kMethod}) && path[1] < file.service_size()) {
    const auto& service = file.service(path[1]);
    if (path[3] < service.method_size()) {
      return prefix + service.name() + "." + service.method(path[3]).name();
    }
  }
  if (is({kMessage}) && path[1] < file.message_type_size()) {
    return prefix + file.message_type(path[1]).name();
  }
  if (is({kMessage, kField}) && path[1] < file.message_type_size()) {
    const auto& message = file.message_type(path[1]);
    if (path[3] < message.field_size()) {
      return prefix + message.name() + "." + message.field(path[3]).name();
    }
  }
  return "";
}

// Each line has the blank that follows the slashes.
std::string WithoutIndent(const std::string& raw) {
  std::string out;
  for (size_t begin = 0; begin < raw.size();) {
    const size_t end = std::min(raw.find('\n', begin), raw.size());
    if (raw[begin] == ' ') ++begin;
    out.append(raw, begin, end - begin).push_back('\n');
    begin = end + 1;
  }
  while (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

}  // namespace

Result<Comments> Comments::Parse(std::string_view descriptor_set) {
  // A place for each token of each file: an arena spares freeing them one by one.
  google::protobuf::Arena arena;
  auto& set = *google::protobuf::Arena::CreateMessage<FileDescriptorSet>(&arena);
  if (!set.ParseFromArray(descriptor_set.data(), static_cast<int>(descriptor_set.size()))) {
    return DataLoss("the descriptor set is damaged");
  }
  Comments comments;
  for (const FileDescriptorProto& file : set.file()) {
    for (const auto& place : file.source_code_info().location()) {
      if (place.leading_comments().empty()) continue;
      std::string name = NameAt(file, {place.path().begin(), place.path().end()});
      if (name.empty()) continue;
      comments.by_name_.emplace(std::move(name), WithoutIndent(place.leading_comments()));
    }
  }
  return comments;
}

std::string Comments::At(const std::string& full_name) const {
  const auto found = by_name_.find(full_name);
  return found == by_name_.end() ? std::string() : found->second;
}

std::string FirstSentence(const std::string& comment) {
  std::string line = comment.substr(0, comment.find("\n\n"));
  std::replace(line.begin(), line.end(), '\n', ' ');
  const size_t end = line.find(". ");
  return end == std::string::npos ? line : line.substr(0, end + 1);
}

}  // namespace pollux::rpc
