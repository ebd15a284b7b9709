#include "cli/comments.h"

#include <google/protobuf/descriptor.pb.h>

#include <algorithm>

namespace pollux::cli {
namespace {

template <typename AnyDescriptor>
std::string CommentAt(const AnyDescriptor* descriptor) {
  google::protobuf::SourceLocation place;
  if (descriptor == nullptr || !descriptor->GetSourceLocation(&place)) return "";
  // Each line has the blank that follows the slashes.
  const std::string& raw = place.leading_comments;
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

Result<std::unique_ptr<Comments>> Comments::Parse(std::string_view descriptor_set) {
  google::protobuf::FileDescriptorSet set;
  if (!set.ParseFromArray(descriptor_set.data(), static_cast<int>(descriptor_set.size()))) {
    return DataLoss("the descriptor set is damaged");
  }
  std::unique_ptr<Comments> comments(new Comments);
  for (const auto& file : set.file()) {
    if (comments->pool_.BuildFile(file) == nullptr) {
      return DataLoss("the descriptor set is damaged: %s", file.name());
    }
  }
  return comments;
}

std::string Comments::Of(const google::protobuf::ServiceDescriptor& service) const {
  return CommentAt(pool_.FindServiceByName(service.full_name()));
}

std::string Comments::Of(const google::protobuf::MethodDescriptor& method) const {
  return CommentAt(pool_.FindMethodByName(method.full_name()));
}

std::string Comments::Of(const google::protobuf::FieldDescriptor& field) const {
  return CommentAt(pool_.FindFieldByName(field.full_name()));
}

std::string FirstSentence(const std::string& comment) {
  std::string line = comment.substr(0, comment.find("\n\n"));
  std::replace(line.begin(), line.end(), '\n', ' ');
  const size_t end = line.find(". ");
  return end == std::string::npos ? line : line.substr(0, end + 1);
}

}  // namespace pollux::cli
