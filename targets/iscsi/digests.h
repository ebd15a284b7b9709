#pragma once

namespace pollux::iscsi {

// Which parts of the PDUs of a connection bear a CRC32C. RFC 7143 §13.1
struct Digests {
  bool header = false;
  bool data = false;
};

}  // namespace pollux::iscsi
