#include "core/check.h"

#include <cstdio>
#include <cstdlib>

namespace pollux {

void CheckFailed(const char* file, int line, const char* condition, const char* text) {
  std::fprintf(stderr, "%s:%d: CHECK(%s) failed%s%s\n", file, line, condition,
               *text != '\0' ? ": " : "", text);
  std::fflush(stderr);
  std::abort();
}

}  // namespace pollux
