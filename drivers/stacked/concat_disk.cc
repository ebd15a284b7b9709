#include "drivers/stacked/concat_disk.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>
#include <utility>

#include "core/check.h"
#include "core/json_string.h"

namespace pollux {
namespace {

// The bases' data, one behind the other.
struct Extent {
  BlockDevice* base;
  uint64_t begin, blocks;
};
using Extents = std::vector<Extent>;

class ConcatChannel final : public StackedChannel {
 public:
  ConcatChannel(BlockDevice& device, Reactor& reactor, const Extents& extents)
      : StackedChannel(device, reactor) {
    for (const Extent& extent : extents) {
      members_.push_back(
          {extent.base->channel(reactor.index()), extent.begin, extent.begin + extent.blocks});
    }
  }

 private:
  struct Member {
    BlockChannel* channel;
    uint64_t begin, end;
  };
  // Some requests visit several members, one after the other.
  struct Visit final : Passage {
    explicit Visit(IoRequest& r) : Passage(r) {}
    const Member* member = nullptr;
  };

  void DoSubmit(IoRequest& request) override {
    Visit& visit = Enter<Visit>(request);
    visit.member = IsForAll(request.type) ? members_.data() : &MemberAt(request.lba);
    Go(visit);
  }

  static bool IsForAll(IoType type) { return type == IoType::kFlush || type == IoType::kReset; }

  const Member& MemberAt(uint64_t lba) const {
    const auto after = std::upper_bound(members_.begin(), members_.end(), lba,
                                        [](uint64_t l, const Member& m) { return l < m.begin; });
    return *std::prev(after);
  }

  // What the request wants of the member that it has come to. I/O with data was cut where members
  // meet: see optimal_boundary_blocks. An unmap is cut here.
  void Go(Visit& visit) {
    const IoRequest& request = visit.request;
    const Member& member = *visit.member;
    if (IsForAll(request.type)) return Forward(visit, *member.channel, 0, 0);
    const uint64_t begin = std::max(request.lba, member.begin);
    const uint64_t end = std::min(request.lba + request.blocks, member.end);
    Forward(visit, *member.channel, begin - member.begin, end - begin);
  }

  void OnForwarded(Passage& passage, IoStatus status) override {
    auto& visit = static_cast<Visit&>(passage);
    const IoRequest& request = visit.request;
    const bool has_more = IsForAll(request.type) ? visit.member != &members_.back()
                                                 : visit.member->end < request.lba + request.blocks;
    if (status != IoStatus::kSuccess || !has_more) return End(visit, status);
    ++visit.member;
    Go(visit);
  }

  bool DoLend(Loan& loan) override {
    const Member& member = MemberAt(loan.lba);
    if (loan.lba + loan.blocks > member.end) return false;
    loan.lba -= member.begin;
    const bool lent = member.channel->TryLend(loan);
    loan.lba += member.begin;
    return lent;
  }
  void DoReturn(Loan& loan) override {
    const Member& member = MemberAt(loan.lba);
    loan.lba -= member.begin;
    member.channel->Return(loan);
    loan.lba += member.begin;
  }

  std::vector<Member> members_;
};

class Concat final : public ConcatDisk {
 public:
  Concat(const ConcatOptions& options, const Geometry& geometry, Uuid uuid,
         const std::vector<BlockDevice*>& bases, Extents extents)
      : ConcatDisk(options.name, kRaidProduct, geometry, uuid, bases),
        strip_size_kb_(options.strip_size_kb),
        extents_(std::move(extents)) {
    // It may lie on two members: the block layer makes it of compare and write.
    DoesNotExecute(IoType::kCompareAndWrite);
  }

  uint32_t strip_size_kb() const override { return strip_size_kb_; }
  std::vector<ConcatMember> members() const override {
    std::vector<ConcatMember> members;
    for (const Extent& extent : extents_) {
      members.push_back({extent.base->name(), extent.base->uuid().ToString(), extent.blocks});
    }
    return members;
  }

  std::string DriverSpecificJson() const override {
    const size_t count = extents_.size();
    std::string list;
    for (const ConcatMember& member : members()) {
      list += absl::StrFormat(
          R"(%s{"name":%s,"uuid":"%s","is_configured":true,"data_offset":0,"data_size":%u})",
          list.empty() ? "" : ",", JsonStringOfLatin1(member.name), member.uuid,
          member.data_blocks);
    }
    return absl::StrFormat(
        R"({"raid":{"uuid":"%s","strip_size_kb":%u,"state":"online","raid_level":"concat",)"
        R"("superblock":false,"num_base_bdevs":%u,"num_base_bdevs_discovered":%u,)"
        R"("num_base_bdevs_operational":%u,"base_bdevs_list":[%s]}})",
        uuid().ToString(), strip_size_kb_, count, count, count, list);
  }

 private:
  Result<std::unique_ptr<BlockChannel>> MakeChannel(Reactor& reactor) override {
    return std::make_unique<ConcatChannel>(*this, reactor, extents_);
  }

  const uint32_t strip_size_kb_;
  const Extents extents_;
};

Status CheckAlike(const BlockDevice& first, const BlockDevice& other) {
  const Geometry& a = first.geometry();
  const Geometry& b = other.geometry();
  if (a.block_bytes != b.block_bytes) {
    return InvalidField("base_bdevs", other.name(), "has blocks of %u bytes, '%s' of %u",
                        b.block_bytes, first.name(), a.block_bytes);
  }
  if (a.metadata_bytes != b.metadata_bytes || a.metadata_interleaved != b.metadata_interleaved ||
      a.protection_type != b.protection_type || a.protection_first != b.protection_first) {
    return InvalidField("base_bdevs", other.name(), "has other metadata than '%s'", first.name());
  }
  return OkStatus();
}

// The largest distance that all members begin at a multiple of: what crosses none of them crosses
// no member's end. 0: there is but one.
uint32_t BoundaryOf(const Extents& extents, uint64_t strip_blocks) {
  uint64_t boundary = 0;
  for (const Extent& extent : extents) boundary = std::gcd(boundary, extent.begin);
  while (boundary > std::numeric_limits<uint32_t>::max() && boundary % (2 * strip_blocks) == 0) {
    boundary /= 2;
  }
  return static_cast<uint32_t>(boundary > std::numeric_limits<uint32_t>::max() ? strip_blocks
                                                                               : boundary);
}

}  // namespace

Status CheckConcat(const ConcatOptions& options) {
  if (options.name.empty()) return InvalidField("name", options.name, "must not be empty");
  if (!std::has_single_bit(options.strip_size_kb)) {
    return InvalidField("strip_size_kb", options.strip_size_kb, "must be a power of two");
  }
  return OkStatus();
}

Result<std::unique_ptr<StackedDisk>> MakeConcatDisk(const ConcatOptions& options,
                                                    const std::vector<BlockDevice*>& bases) {
  RETURN_IF_ERROR(CheckConcat(options));
  CHECK(!bases.empty());
  Geometry geometry = bases.front()->geometry();
  const uint64_t strip_blocks = options.strip_size_kb * uint64_t{1024} / geometry.block_bytes;
  if (strip_blocks == 0) {
    return InvalidField("strip_size_kb", options.strip_size_kb, "is less than a block of %u bytes",
                        geometry.block_bytes);
  }
  geometry.blocks = 0;
  Extents extents;
  std::string identities;
  for (BlockDevice* base : bases) {
    RETURN_IF_ERROR(CheckAlike(*bases.front(), *base));
    if (bases.size() > 1) RETURN_IF_ERROR(CheckRenumbering("base_bdevs", *base));
    const uint64_t blocks = base->geometry().blocks / strip_blocks * strip_blocks;
    if (blocks == 0) {
      return InvalidField("base_bdevs", base->name(), "has only %u blocks, a strip has %u",
                          base->geometry().blocks, strip_blocks);
    }
    extents.push_back({base, geometry.blocks, blocks});
    geometry.blocks += blocks;
    geometry.physical_block_bytes =
        std::max(geometry.physical_block_bytes, base->geometry().physical_block_bytes);
    identities += base->uuid().ToString();
  }
  const uint64_t blocks_max = static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) /
                              (geometry.block_bytes + geometry.metadata_bytes);
  if (geometry.blocks > blocks_max) {
    return InvalidField("base_bdevs", bases.size(), "together they have more than %u blocks",
                        blocks_max);
  }
  geometry.optimal_boundary_blocks = BoundaryOf(extents, strip_blocks);
  ASSIGN_OR_RETURN(const Uuid uuid,
                   UuidGivenOrOver(options.uuid, *bases.front(), "concat" + identities));
  return std::make_unique<Concat>(options, geometry, uuid, bases, std::move(extents));
}

}  // namespace pollux
