#include "core/block/block_device.h"

#include <algorithm>
#include <utility>

#include "core/block/range_lock.h"
#include "core/check.h"

namespace pollux {
namespace {

bool Contains(const std::vector<BlockUser*>& users, const BlockUser& user) {
  return std::find(users.begin(), users.end(), &user) != users.end();
}

}  // namespace

const char* ClaimTypeName(ClaimType type) {
  switch (type) {
    case ClaimType::kNone:
      return "none";
    case ClaimType::kExclusiveWrite:
      return "exclusive_write";
    case ClaimType::kReadManyWriteOne:
      return "read_many_write_one";
    case ClaimType::kReadManyWriteNone:
      return "read_many_write_none";
    case ClaimType::kReadManyWriteShared:
      return "read_many_write_shared";
  }
  return "unknown";
}

BlockDevice::BlockDevice(std::string name, std::string product_name, Geometry geometry, Uuid uuid)
    : name_(std::move(name)),
      product_name_(std::move(product_name)),
      geometry_(geometry),
      uuid_(uuid),
      aliases_{uuid.ToString()} {}

BlockDevice::~BlockDevice() {
  CHECK(state_ == State::kMade || state_ == State::kGone, "a block device died while it is used");
}

bool BlockDevice::Supports(IoType type) const {
  if (Executes(type)) return true;
  switch (type) {
    case IoType::kRead:
    case IoType::kWrite:
    case IoType::kUnmap:
      return false;
    case IoType::kFlush:
      return !volatile_cache_;  // There is nothing to do.
    case IoType::kWriteZeroes:
      return Executes(IoType::kWrite);
    case IoType::kCompare:
      return Executes(IoType::kRead) && buffers_ != nullptr;
    case IoType::kCompareAndWrite:
      return Executes(IoType::kWrite) && Supports(IoType::kCompare);
    case IoType::kReset:
    case IoType::kAbort:
      return true;
  }
  return false;
}

Status BlockDevice::CheckResize(uint64_t blocks) const {
  return NotSupported("%s '%s' keeps its size of %u blocks (%u wanted)", product_name_, name_,
                      geometry_.blocks, blocks);
}

Status BlockDevice::Open(BlockUser& user, bool write) {
  if (state_ != State::kReady) return NoDevice("block device '%s' is going", name_);
  CHECK(!Contains(users_, user), "a user opened a device twice");
  if (write) {
    if (read_only_) return PermissionDenied("block device '%s' is read-only", name_);
    if (claim_ != ClaimType::kNone) {
      return PermissionDenied("block device '%s' is claimed (%s) by %s", name_,
                              ClaimTypeName(claim_), claimers_.front()->description());
    }
    writers_.push_back(&user);
  }
  users_.push_back(&user);
  return OkStatus();
}

void BlockDevice::Close(BlockUser& user) {
  ReleaseClaim(user);
  std::erase(users_, &user);
  std::erase(writers_, &user);
}

Status BlockDevice::MayClaim(const BlockUser& user, ClaimType type) const {
  const auto other_writer = std::find_if(writers_.begin(), writers_.end(),
                                         [&user](const BlockUser* w) { return w != &user; });
  const bool shares =
      type == ClaimType::kReadManyWriteNone || type == ClaimType::kReadManyWriteShared;
  if (claim_ != ClaimType::kNone && !(shares && claim_ == type)) {
    return PermissionDenied("block device '%s' is claimed already (%s) by %s", name_,
                            ClaimTypeName(claim_), claimers_.front()->description());
  }
  if (type == ClaimType::kReadManyWriteNone && !writers_.empty()) {
    return PermissionDenied("block device '%s' is open for writing by %s", name_,
                            writers_.front()->description());
  }
  // Those who share the right to write have claimed it.
  if (other_writer != writers_.end() && !Contains(claimers_, **other_writer)) {
    return PermissionDenied("block device '%s' is open for writing by %s", name_,
                            (*other_writer)->description());
  }
  return OkStatus();
}

Status BlockDevice::Claim(BlockUser& user, ClaimType type) {
  CHECK(type != ClaimType::kNone && Contains(users_, user), "a claim by one who is no user");
  if (Contains(claimers_, user)) {
    return PermissionDenied("block device '%s' is claimed by %s already", name_,
                            user.description());
  }
  RETURN_IF_ERROR(MayClaim(user, type));
  claim_ = type;
  claimers_.push_back(&user);
  // The claim is the right to write, whatever the device was opened for.
  if (type != ClaimType::kReadManyWriteNone && !Contains(writers_, user)) writers_.push_back(&user);
  return OkStatus();
}

void BlockDevice::ReleaseClaim(BlockUser& user) {
  std::erase(claimers_, &user);
  if (claimers_.empty()) claim_ = ClaimType::kNone;
}

}  // namespace pollux
