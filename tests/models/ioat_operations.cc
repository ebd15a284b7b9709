// What the descriptors of IoatModel do.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "tests/models/ioat_model.h"

namespace pollux::models {

using namespace ioat;  // NOLINT: nearly every word here is the device's.

namespace {

constexpr size_t kExecutedMax = 4096;

// GF(2^8) of RAID-6, polynomial 11dh.
uint8_t Multiply(uint8_t a, uint8_t b) {
  unsigned product = 0, shifted = a;
  for (unsigned bits = b; bits != 0; bits >>= 1) {
    if ((bits & 1) != 0) product ^= shifted;
    shifted = (shifted & 0x80) != 0 ? (shifted << 1 ^ 0x11d) : shifted << 1;
  }
  return static_cast<uint8_t>(product);
}

std::vector<std::byte> XorOf(const std::vector<const std::byte*>& sources, size_t bytes) {
  std::vector<std::byte> sum(bytes);
  for (const std::byte* source : sources) {
    for (size_t i = 0; i < bytes; ++i) sum[i] ^= source[i];
  }
  return sum;
}

std::vector<std::byte> QOf(const std::vector<const std::byte*>& sources,
                           const uint8_t* coefficients, size_t bytes) {
  std::vector<std::byte> sum(bytes);
  for (size_t s = 0; s < sources.size(); ++s) {
    std::array<std::byte, 256> times{};
    for (unsigned value = 0; value < 256; ++value) {
      times[value] = std::byte{Multiply(coefficients[s], static_cast<uint8_t>(value))};
    }
    for (size_t i = 0; i < bytes; ++i) sum[i] ^= times[std::to_integer<size_t>(sources[s][i])];
  }
  return sum;
}

}  // namespace

bool IoatModel::LengthIsGood(uint32_t bytes) const {
  return bytes > 0 && bytes <= uint64_t{1} << options_.xfercap;
}

IoatModel::Outcome IoatModel::Execute(uint64_t address) {
  if (address % kDescriptorBytes != 0) return {chanerr::kDescriptor};
  const std::byte* const at = memory_.At(address, kDescriptorBytes, false);
  if (at == nullptr) return {chanerr::kNextAddress};
  Descriptor descriptor;
  std::memcpy(&descriptor, at, sizeof descriptor);
  if (executed_.size() >= kExecutedMax) {
    executed_.erase(executed_.begin(), executed_.begin() + kExecutedMax / 2);
  }
  executed_.push_back(descriptor.control);
  if (!LengthIsGood(descriptor.size)) return {chanerr::kLength};

  Outcome outcome{.next = descriptor.next};
  switch (control::kOpcode.Get(descriptor.control)) {
    case opcode::kCopy:
      outcome.chanerr = Copy(descriptor);
      return outcome;
    case opcode::kFill:
      outcome.chanerr = Fill(descriptor);
      return outcome;
    case opcode::kXor:
      return Xor(descriptor, false);
    case opcode::kXorValidate:
      return Xor(descriptor, true);
    case opcode::kPq:
      return Pq(descriptor, false);
    case opcode::kPqValidate:
      return Pq(descriptor, true);
    default:
      return {chanerr::kControl};
  }
}

uint32_t IoatModel::Copy(const Descriptor& descriptor) {
  if ((descriptor.control & control::kNull) != 0) return 0;
  const std::byte* const from = memory_.At(descriptor.source, descriptor.size, false);
  if (from == nullptr) return chanerr::kReadData;
  std::byte* const to = memory_.At(descriptor.destination, descriptor.size, true);
  if (to == nullptr) return chanerr::kWriteData;
  std::memmove(to, from, descriptor.size);
  return 0;
}

uint32_t IoatModel::Fill(const Descriptor& descriptor) {
  if ((options_.capability & capability::kFill) == 0) return chanerr::kControl;
  std::byte* const to = memory_.At(descriptor.destination, descriptor.size, true);
  if (to == nullptr) return chanerr::kWriteData;
  const auto* pattern = reinterpret_cast<const std::byte*>(&descriptor.source);
  for (uint32_t i = 0; i < descriptor.size; ++i) to[i] = pattern[i % 8];
  return 0;
}

bool IoatModel::ReadSources(const std::vector<uint64_t>& addresses, size_t bytes,
                            std::vector<const std::byte*>& into) {
  for (const uint64_t address : addresses) {
    into.push_back(memory_.At(address, bytes, false));
    if (into.back() == nullptr) return false;
  }
  return true;
}

IoatModel::Outcome IoatModel::Xor(const Descriptor& descriptor, bool validate) {
  if ((options_.capability & capability::kXor) == 0) return {chanerr::kControl};
  const auto base = std::bit_cast<XorDescriptor>(descriptor);
  const uint32_t count = control::kSourceCount.Get(base.control) + kSourcesMin;
  if (count > kSourcesMax) return {chanerr::kControl};
  std::vector<uint64_t> addresses = {base.source1, base.source2, base.source3, base.source4,
                                     base.source5};
  Outcome outcome{.next = base.next};
  if (count > kXorSources) {
    const std::byte* const at = memory_.At(base.next, kDescriptorBytes, false);
    if (at == nullptr) return {chanerr::kNextAddress};
    XorExtension extension;
    std::memcpy(&extension, at, sizeof extension);
    addresses.insert(addresses.end(), {extension.source6, extension.source7, extension.source8});
    outcome = {.descriptors = 2, .next = extension.next};
  }
  addresses.resize(count);
  std::vector<const std::byte*> sources;
  if (!ReadSources(addresses, base.size, sources)) return {chanerr::kReadData};
  const std::vector<std::byte> sum = XorOf(sources, base.size);
  std::byte* const to = memory_.At(base.destination, base.size, !validate);
  if (to == nullptr) return {validate ? chanerr::kReadData : chanerr::kWriteData};
  if (!validate) {
    std::copy(sum.begin(), sum.end(), to);
  } else if (!std::equal(sum.begin(), sum.end(), to)) {
    outcome.chanerr = chanerr::kXorMismatch;
  }
  return outcome;
}

IoatModel::Outcome IoatModel::Pq(const Descriptor& descriptor, bool validate) {
  if ((options_.capability & capability::kPq) == 0) return {chanerr::kControl};
  const auto base = std::bit_cast<PqDescriptor>(descriptor);
  const uint32_t count = control::kSourceCount.Get(base.control) + kSourcesMin;
  if (count > kSourcesMax) return {chanerr::kControl};
  std::vector<uint64_t> addresses = {base.source1, base.source2, base.source3};
  Outcome outcome{.next = base.next};
  if (count > kPqSources) {
    const std::byte* const at = memory_.At(base.next, kDescriptorBytes, false);
    if (at == nullptr) return {chanerr::kNextAddress};
    PqExtension extension;
    std::memcpy(&extension, at, sizeof extension);
    addresses.insert(addresses.end(), {extension.source4, extension.source5, extension.source6,
                                       extension.source7, extension.source8});
    outcome = {.descriptors = 2, .next = extension.next};
  }
  addresses.resize(count);
  std::vector<const std::byte*> sources;
  if (!ReadSources(addresses, base.size, sources)) return {chanerr::kReadData};

  const auto settle = [&](const std::vector<std::byte>& sum, uint64_t where, uint32_t mismatch) {
    std::byte* const to = memory_.At(where, base.size, !validate);
    if (to == nullptr) return validate ? chanerr::kReadData : chanerr::kWriteData;
    if (validate) return std::equal(sum.begin(), sum.end(), to) ? 0u : mismatch;
    std::copy(sum.begin(), sum.end(), to);
    return 0u;
  };
  if ((base.control & control::kPDisable) == 0) {
    outcome.chanerr |= settle(XorOf(sources, base.size), base.p, chanerr::kXorMismatch);
  }
  if ((base.control & control::kQDisable) == 0) {
    outcome.chanerr |=
        settle(QOf(sources, base.coefficients, base.size), base.q, chanerr::kQMismatch);
  }
  return outcome;
}

}  // namespace pollux::models
