#pragma once
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <new>
#include <span>
#include <string_view>

#include "core/check.h"
#include "targets/scsi/nexus.h"

namespace pollux::scsi {

// Parameter data being put together in a buffer: INQUIRY, MODE SENSE and so on. What was not
// written is zero, whatever the buffer held before. Everything we say fits into kBufferBytesMin, by
// construction.
class ParameterData {
 public:
  static constexpr size_t kBytesMax = Nexus::kBufferBytesMin;

  // `capacity` bytes at most, which are there.
  explicit ParameterData(std::byte* buffer, size_t capacity = kBytesMax)
      : buffer_(buffer), capacity_(capacity) {
    std::memset(buffer, 0, capacity);
  }

  // Appends a struct of wire integers, to be filled in through the reference.
  template <typename T>
  T& Append(const T& value = {}) {
    static_assert(alignof(T) == 1);
    return *new (Take(sizeof(T))) T(value);
  }
  void AppendBytes(std::span<const uint8_t> bytes) {
    std::memcpy(Take(bytes.size()), bytes.data(), bytes.size());
  }
  void AppendText(std::string_view text) {
    std::memcpy(Take(text.size()), text.data(), text.size());
  }
  // To the next multiple of four.
  void Pad4() { Take((4 - size_ % 4) % 4); }

  std::byte* data() const { return buffer_; }
  size_t size() const { return size_; }
  size_t room() const { return capacity_ - size_; }

 private:
  std::byte* Take(size_t bytes) {
    CHECK(bytes <= room());
    std::byte* place = buffer_ + size_;
    size_ += bytes;
    return place;
  }

  std::byte* const buffer_;
  const size_t capacity_;
  size_t size_ = 0;
};

// Text as T10 wants it: left-aligned, padded with spaces, printable ASCII only. SPC-4 §4.3.1.
template <size_t kBytes>
void SetText(uint8_t (&field)[kBytes], std::string_view text) {
  for (size_t i = 0; i < kBytes; ++i) {
    const char c = i < text.size() ? text[i] : ' ';
    field[i] = static_cast<uint8_t>(c >= 0x20 && c <= 0x7e ? c : '_');
  }
}

}  // namespace pollux::scsi
