#include "rpc/reference/embedded_descriptors.h"

// The assembler reads the file, whose path the build gives: as an array in C++ it would take a
// compiler longer than all the rest.
asm(".pushsection .rodata.pollux_descriptors, \"a\", @progbits\n"
    "pollux_descriptors_begin:\n"
    ".incbin \"" POLLUX_DESCRIPTOR_SET
    "\"\n"
    "pollux_descriptors_end:\n"
    ".popsection\n");

extern const char pollux_descriptors_begin[] asm("pollux_descriptors_begin");
extern const char pollux_descriptors_end[] asm("pollux_descriptors_end");

namespace pollux::rpc {

std::string_view EmbeddedDescriptors() {
  return {pollux_descriptors_begin, pollux_descriptors_end};
}

}  // namespace pollux::rpc
