# cmake --install: the programs; and the NVMe driver as a library that needs nothing else of ours, with
# a pkg-config file (pollux-nvme) and a CMake package (PolluxNvme).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# Who builds against the driver writes #include <pollux/nvme.h>, in the tree as elsewhere.
configure_file(${PROJECT_SOURCE_DIR}/drivers/nvme/nvme.h
               ${PROJECT_BINARY_DIR}/include/pollux/nvme.h COPYONLY)

# One archive of the folders that the driver is made of. Only memory.cc needs DPDK, and the driver
# without polluxd has memory of its own.
set(nvme_objects)
foreach(folder core core/memory core/spec core/vfio_user core/accel core/nvme_tcp drivers/pci
               drivers/nvme)
  pollux_target_name(${folder} target)
  list(APPEND nvme_objects $<FILTER:$<TARGET_OBJECTS:${target}>,EXCLUDE,/core/memory/memory[.]cc>)
endforeach()
# Of core/net addresses alone.
list(APPEND nvme_objects $<FILTER:$<TARGET_OBJECTS:pollux_core_net>,INCLUDE,/core/net/address[.]cc>)
add_library(pollux-nvme STATIC ${nvme_objects})
set_target_properties(pollux-nvme PROPERTIES LINKER_LANGUAGE CXX)
target_include_directories(pollux-nvme INTERFACE ${PROJECT_BINARY_DIR}/include)
target_link_libraries(pollux-nvme PUBLIC abseil isal Threads::Threads)

# Both files find what they speak of from where they lie, so that the tree may be moved.
set(to_prefix ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
string(REGEX REPLACE "[^/]+" ".." to_prefix ${to_prefix})
configure_file(${PROJECT_SOURCE_DIR}/cmake/pollux-nvme.pc.in
               ${PROJECT_BINARY_DIR}/pollux-nvme.pc @ONLY)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/PolluxNvmeConfig.cmake.in
  ${PROJECT_BINARY_DIR}/PolluxNvmeConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/PolluxNvme
  PATH_VARS CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_LIBDIR)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/PolluxNvmeConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)

install(TARGETS polluxd pollux pollux-identify pollux-perf
        RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS pollux-nvme ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES drivers/nvme/nvme.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/pollux)
install(FILES ${PROJECT_BINARY_DIR}/pollux-nvme.pc
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES ${PROJECT_BINARY_DIR}/PolluxNvmeConfig.cmake
              ${PROJECT_BINARY_DIR}/PolluxNvmeConfigVersion.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/PolluxNvme)
install(FILES examples/hello_nvme.c examples/hello_nvme.cc
        DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)

# The tutorials, as strangers would build them.
add_executable(hello_nvme examples/hello_nvme.c)
set_target_properties(hello_nvme PROPERTIES C_STANDARD 11 C_EXTENSIONS OFF)
add_executable(hello_nvme_cc examples/hello_nvme.cc)
foreach(example hello_nvme hello_nvme_cc)
  target_compile_options(${example} PRIVATE -Wall -Wextra -pedantic -Werror)
  target_link_libraries(${example} PRIVATE pollux-nvme)
endforeach()
