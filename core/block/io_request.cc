#include "core/block/io_request.h"

namespace pollux {

const char* IoTypeName(IoType type) {
  switch (type) {
    case IoType::kRead:
      return "read";
    case IoType::kWrite:
      return "write";
    case IoType::kFlush:
      return "flush";
    case IoType::kUnmap:
      return "unmap";
    case IoType::kWriteZeroes:
      return "write_zeroes";
    case IoType::kCompare:
      return "compare";
    case IoType::kCompareAndWrite:
      return "compare_and_write";
    case IoType::kReset:
      return "reset";
    case IoType::kAbort:
      return "abort";
  }
  return "unknown";
}

const char* IoSourceName(IoSource source) {
  switch (source) {
    case IoSource::kOther:
      return "other";
    case IoSource::kIscsi:
      return "iscsi";
    case IoSource::kNvmf:
      return "nvmf";
    case IoSource::kStacked:
      return "stacked";
  }
  return "unknown";
}

}  // namespace pollux
