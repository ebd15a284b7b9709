# C++20 with warnings as errors; the same binary runs on any x86-64-v2 machine, and in an emulator.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

# Assertions are ours (core/check.h) and stay on, so NDEBUG is set nowhere.
set(CMAKE_CXX_FLAGS_RELEASE "-O3 -g")
set(CMAKE_C_FLAGS_RELEASE "-O3 -g")
set(CMAKE_CXX_FLAGS_DEBUG "-Og -g")

set(POLLUX_SANITIZE "" CACHE STRING "Sanitizers to build with: address,undefined or thread")

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE})
endif()

add_compile_options(-march=x86-64-v2 -fno-omit-frame-pointer)
set(POLLUX_WARNINGS -Wall -Wextra -Wconversion -Wsign-conversion -Wshadow
                    -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  list(APPEND POLLUX_WARNINGS -Wno-missing-field-initializers)
else()
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fcoroutines>)
  # g++ 12 finds an overlap in "text" + std::string that cannot be (GCC bug 105651).
  list(APPEND POLLUX_WARNINGS -Wno-missing-field-initializers -Wno-restrict)
endif()
if(POLLUX_SANITIZE)
  # Line numbers are all that a report needs; variables would cost a quarter of the time to compile.
  add_compile_options(-fsanitize=${POLLUX_SANITIZE} -O1 -g1)
  add_link_options(-fsanitize=${POLLUX_SANITIZE})
  if(POLLUX_SANITIZE MATCHES "undefined")
    add_compile_options(-fno-sanitize-recover=all)
  endif()
  if(POLLUX_SANITIZE MATCHES "thread")
    # Protobuf gives its maps other members where it sees this macro; Debian's library has not seen it.
    add_compile_options(-Wno-tsan -U__SANITIZE_THREAD__)
  endif()
endif()

option(POLLUX_FUZZ "Build the fuzz targets of tests/fuzz (with clang and -DPOLLUX_SANITIZE=...)" OFF)
if(POLLUX_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
