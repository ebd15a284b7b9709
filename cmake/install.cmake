# cmake --install: the programs; and each driver as a library that needs nothing else of ours, with a
# pkg-config file (pollux-nvme, pollux-ioat) and a CMake package (PolluxNvme, PolluxIoat).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# pollux_driver(NAME PACKAGE DESCRIPTION TEXT FOLDERS FOLDER... [LINKS LIBRARY...] [REQUIRES MODULE...]):
# one archive of the folders that the driver of drivers/NAME is made of, and its examples. Only memory.cc
# needs DPDK, and a driver without polluxd has memory of its own. A program may have several drivers: what
# they share is in each archive, and linked once.
function(pollux_driver name PACKAGE)
  cmake_parse_arguments(ARG "" "DESCRIPTION" "FOLDERS;OBJECTS;LINKS;REQUIRES" ${ARGN})
  set(LIBRARY pollux-${name})
  set(objects ${ARG_OBJECTS})
  foreach(folder ${ARG_FOLDERS})
    pollux_target_name(${folder} target)
    list(APPEND objects $<FILTER:$<TARGET_OBJECTS:${target}>,EXCLUDE,/core/memory/memory[.]cc>)
  endforeach()
  add_library(${LIBRARY} STATIC ${objects})
  set_target_properties(${LIBRARY} PROPERTIES LINKER_LANGUAGE CXX)
  target_include_directories(${LIBRARY} INTERFACE ${PROJECT_BINARY_DIR}/include)
  target_link_libraries(${LIBRARY} PUBLIC abseil ${ARG_LINKS} Threads::Threads)
  install(TARGETS ${LIBRARY} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})

  # Who builds against the driver writes #include <pollux/NAME.h>, in the tree as elsewhere.
  set(header ${PROJECT_SOURCE_DIR}/drivers/${name}/${name}.h)
  configure_file(${header} ${PROJECT_BINARY_DIR}/include/pollux/${name}.h COPYONLY)
  install(FILES ${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/pollux)

  # Both files find what they speak of from where they lie, so that the tree may be moved.
  set(to_prefix ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
  string(REGEX REPLACE "[^/]+" ".." to_prefix ${to_prefix})
  list(JOIN ARG_REQUIRES " " ARG_REQUIRES)
  configure_file(${PROJECT_SOURCE_DIR}/cmake/driver.pc.in
                 ${PROJECT_BINARY_DIR}/${LIBRARY}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/${LIBRARY}.pc
          DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
  configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/DriverConfig.cmake.in
    ${PROJECT_BINARY_DIR}/${PACKAGE}Config.cmake
    INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/${PACKAGE}
    PATH_VARS CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_LIBDIR)
  write_basic_package_version_file(${PROJECT_BINARY_DIR}/${PACKAGE}ConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
  install(FILES ${PROJECT_BINARY_DIR}/${PACKAGE}Config.cmake
                ${PROJECT_BINARY_DIR}/${PACKAGE}ConfigVersion.cmake
          DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/${PACKAGE})

  # The tutorials, as strangers would build them.
  set(example hello_${name})
  add_executable(${example} examples/${example}.c)
  set_target_properties(${example} PROPERTIES C_STANDARD 11 C_EXTENSIONS OFF)
  add_executable(${example}_cc examples/${example}.cc)
  foreach(program ${example} ${example}_cc)
    target_compile_options(${program} PRIVATE -Wall -Wextra -pedantic -Werror)
    target_link_libraries(${program} PRIVATE ${LIBRARY})
  endforeach()
  install(FILES examples/${example}.c examples/${example}.cc
          DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)
endfunction()

# Of core/net addresses alone.
pollux_driver(nvme PolluxNvme
  DESCRIPTION "The NVMe driver of Pollux: user space, polled, lockless, zero-copy"
  FOLDERS core core/memory core/spec core/vfio_user core/accel core/nvme_tcp drivers/pci drivers/nvme
  OBJECTS $<FILTER:$<TARGET_OBJECTS:pollux_core_net>,INCLUDE,/core/net/address[.]cc>
  LINKS isal
  REQUIRES libisal)
pollux_driver(ioat PolluxIoat
  DESCRIPTION "The I/OAT driver of Pollux: user space, polled, lockless"
  FOLDERS core core/memory core/spec core/vfio_user drivers/pci drivers/ioat)

install(TARGETS polluxd pollux pollux-identify pollux-perf pollux-ioat-perf pollux-accel-perf
        pollux-bdev-perf
        RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
