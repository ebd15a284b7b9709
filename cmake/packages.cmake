# Third-party libraries, all Debian's, each an interface target named as in the top CMakeLists.txt.
# Their headers are system headers: our warnings are not theirs.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(Protobuf REQUIRED)

function(pollux_package name)
  pkg_check_modules(${name}_pkg REQUIRED ${ARGN})
  add_library(${name} INTERFACE)
  target_include_directories(${name} SYSTEM INTERFACE ${${name}_pkg_INCLUDE_DIRS})
  target_compile_options(${name} INTERFACE ${${name}_pkg_CFLAGS_OTHER})
  target_link_directories(${name} INTERFACE ${${name}_pkg_LIBRARY_DIRS})
  target_link_libraries(${name} INTERFACE ${${name}_pkg_LINK_LIBRARIES})
endfunction()

pollux_package(abseil  absl_status absl_statusor absl_str_format absl_strings absl_flat_hash_map)
pollux_package(uring   liburing)
pollux_package(isal    libisal)
pollux_package(sqlite  sqlite3)
pollux_package(openssl libcrypto)
pollux_package(openssl_tls libssl libcrypto)
pollux_package(grpc    grpc++)

# Only DPDK's environment layer, linked statically: the shared one loads every driver that the machine
# has installed (19 MiB resident, for nothing). Whole, since its parts register themselves before main.
# Its .pc file brings -march and dozens of libraries; neither is wanted.
add_library(dpdk INTERFACE)
pkg_check_modules(dpdk_pkg REQUIRED libdpdk)
target_include_directories(dpdk SYSTEM INTERFACE ${dpdk_pkg_INCLUDE_DIRS})
find_library(dpdk_eal librte_eal.a REQUIRED)
set(dpdk_parts -Wl,--whole-archive ${dpdk_eal} -Wl,--no-whole-archive
               -l:librte_kvargs.a -l:librte_telemetry.a bsd numa dl)
target_link_libraries(dpdk INTERFACE
  "$<$<NOT:$<BOOL:$<TARGET_PROPERTY:POLLUX_WITHOUT_dpdk>>>:${dpdk_parts}>")
