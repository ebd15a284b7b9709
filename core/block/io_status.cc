#include "core/block/io_status.h"

#include <cerrno>

namespace pollux {

const char* IoStatusName(IoStatus status) {
  switch (status) {
    case IoStatus::kSuccess:
      return "success";
    case IoStatus::kInvalidRequest:
      return "invalid request";
    case IoStatus::kOutOfRange:
      return "out of range";
    case IoStatus::kNotSupported:
      return "not supported";
    case IoStatus::kWriteProtected:
      return "write protected";
    case IoStatus::kMediumError:
      return "medium error";
    case IoStatus::kNoSpace:
      return "no space";
    case IoStatus::kMiscompare:
      return "miscompare";
    case IoStatus::kAborted:
      return "aborted";
    case IoStatus::kGone:
      return "gone";
    case IoStatus::kTimedOut:
      return "timed out";
    case IoStatus::kNoResources:
      return "no resources";
    case IoStatus::kInternalError:
      return "internal error";
    case IoStatus::kNvmeFailure:
      return "nvme failure";
  }
  return "unknown";
}

IoStatus IoStatusOfErrno(int error_number) {
  switch (error_number) {
    case 0:
      return IoStatus::kSuccess;
    case EIO:
    case EREMOTEIO:
    case ENODATA:
    case EILSEQ:
    case EBADMSG:
      return IoStatus::kMediumError;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:  // The file may not grow that far: a thin one is full in the same way.
      return IoStatus::kNoSpace;
    case EROFS:
    case EPERM:
    case EACCES:
      return IoStatus::kWriteProtected;
    case ENODEV:
    case ENXIO:
    case ESHUTDOWN:
      return IoStatus::kGone;
    case EOPNOTSUPP:
    case ENOSYS:
      return IoStatus::kNotSupported;
    case ECANCELED:
    case EINTR:
      return IoStatus::kAborted;
    case ETIMEDOUT:
      return IoStatus::kTimedOut;
    case ENOMEM:
    case EAGAIN:
    case EBUSY:
    case ENOBUFS:
      return IoStatus::kNoResources;
    default:
      return IoStatus::kInternalError;
  }
}

}  // namespace pollux
