#pragma once
#include <cstdint>
#include <string>

namespace pollux {

// A status code type, and a status, as keys of bdev_get_iostat's "nvme_error": the words by which
// SPDK's clients know them. Codes that have no name there share that of their type.
std::string NvmeStatusTypeKey(uint8_t sct);
std::string NvmeStatusKey(uint8_t sct, uint8_t sc);

}  // namespace pollux
