# How a folder becomes a library, a program or a test. Sources are those that lie in the folder.

# a/b -> pollux_a_b
function(pollux_target_name folder out)
  string(REPLACE "/" "_" flat ${folder})
  set(${out} pollux_${flat} PARENT_SCOPE)
endfunction()

# pollux_library(FOLDER [USES FOLDER...] [LINKS PACKAGE...])
# A package in LINKS is private: what includes this folder does not see the package's headers, except
# abseil (core/status.h is our vocabulary).
function(pollux_library folder)
  cmake_parse_arguments(ARG "" "" "USES;LINKS" ${ARGN})
  pollux_target_name(${folder} target)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/*.cc)
  if(NOT sources)
    set(sources ${PROJECT_SOURCE_DIR}/cmake/empty.cc)
  endif()
  add_library(${target} STATIC ${sources})
  target_include_directories(${target} PUBLIC ${PROJECT_SOURCE_DIR})
  target_compile_options(${target} PRIVATE ${POLLUX_WARNINGS})
  target_link_libraries(${target} PUBLIC abseil Threads::Threads)
  foreach(used ${ARG_USES})
    pollux_target_name(${used} used_target)
    target_link_libraries(${target} PUBLIC ${used_target})
  endforeach()
  if(ARG_LINKS)
    target_link_libraries(${target} PRIVATE ${ARG_LINKS})
  endif()
endfunction()

# pollux_proto(FOLDER): the generated messages, compiled once, and the descriptor set with comments,
# build/share/pollux/pollux.binpb, from which the CLI and the Python client take names and help.
# pollux/v1/files.h lists the files of pollux/v1. Nobody refers to the symbols of some of them, and they
# must be there all the same: methods are found by their descriptors. The files below grpc/ are those of
# gRPC's own services.
function(pollux_proto folder)
  pollux_target_name(${folder} target)
  file(GLOB protos CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/pollux/v1/*.proto)
  set(gen ${PROJECT_BINARY_DIR}/generated)
  file(MAKE_DIRECTORY ${gen})
  set(outputs)
  set(names "")
  set(kept)
  foreach(proto ${protos})
    get_filename_component(name ${proto} NAME_WE)
    list(APPEND outputs ${gen}/pollux/v1/${name}.pb.cc)
    string(APPEND names "    \"pollux/v1/${name}.proto\",\n")
    string(REPLACE "_" "_5f" symbol ${name})  # As protoc does.
    list(APPEND kept LINKER:--require-defined=descriptor_table_pollux_2fv1_2f${symbol}_2eproto)
  endforeach()
  file(GLOB_RECURSE grpc_protos CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR}/${folder}
       ${PROJECT_SOURCE_DIR}/${folder}/grpc/*.proto)
  foreach(proto ${grpc_protos})
    string(REGEX REPLACE "\\.proto$" ".pb.cc" source ${proto})
    list(APPEND outputs ${gen}/${source})
    list(APPEND protos ${PROJECT_SOURCE_DIR}/${folder}/${proto})
  endforeach()
  file(CONFIGURE OUTPUT ${gen}/pollux/v1/files.h @ONLY CONTENT
"#pragma once

namespace pollux::rpc {
inline constexpr const char* kProtoFiles[] = {
@names@};
}  // namespace pollux::rpc
")
  set(binpb ${PROJECT_BINARY_DIR}/share/pollux/pollux.binpb)
  set(POLLUX_DESCRIPTOR_SET ${binpb} PARENT_SCOPE)  # Where it lies, for who embeds it.
  file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/share/pollux)
  add_custom_command(
    OUTPUT ${outputs} ${binpb}
    COMMAND protobuf::protoc -I ${PROJECT_SOURCE_DIR}/${folder} --cpp_out=${gen}
            --include_source_info --include_imports --descriptor_set_out=${binpb} ${protos}
    DEPENDS ${protos}
    COMMENT "protoc: the control plane's messages and descriptors")
  add_library(${target} STATIC ${outputs})
  add_custom_target(pollux_descriptors ALL DEPENDS ${binpb})
  add_dependencies(${target} pollux_descriptors)
  target_include_directories(${target} SYSTEM PUBLIC ${gen})
  target_link_libraries(${target} PUBLIC protobuf::libprotobuf)
  target_link_options(${target} INTERFACE ${kept})
endfunction()

# pollux_binary(NAME SOURCE USES FOLDER... [WITHOUT dpdk])
# WITHOUT a package: folders that it uses link it, and the program needs nothing of theirs that does.
function(pollux_binary name source)
  cmake_parse_arguments(ARG "" "" "USES;WITHOUT" ${ARGN})
  if(NOT EXISTS ${PROJECT_SOURCE_DIR}/${source})
    return()
  endif()
  add_executable(${name} ${source})
  target_compile_options(${name} PRIVATE ${POLLUX_WARNINGS})
  foreach(package ${ARG_WITHOUT})
    set_target_properties(${name} PROPERTIES POLLUX_WITHOUT_${package} ON)
  endforeach()
  foreach(used ${ARG_USES})
    pollux_target_name(${used} used_target)
    target_link_libraries(${name} PRIVATE ${used_target})
  endforeach()
endfunction()

# pollux_test(FOLDER [ALONE] [LINKS PACKAGE...]): tests/unit/FOLDER/*_test.cc, one program per folder.
# ALONE: without the folders that it uses. LINKS then names those that are wanted; the tests have bodies
# of their own for what they use of the others.
function(pollux_test folder)
  cmake_parse_arguments(ARG "ALONE" "" "LINKS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/unit/${folder}/*.cc)
  if(NOT sources)
    return()
  endif()
  pollux_target_name(${folder} target)
  add_executable(${target}_test ${sources})
  target_compile_options(${target}_test PRIVATE ${POLLUX_WARNINGS})
  set(library ${target})
  if(ARG_ALONE)
    set(library $<TARGET_FILE:${target}>)
    add_dependencies(${target}_test ${target})
  endif()
  target_link_libraries(${target}_test PRIVATE ${library} ${ARG_LINKS} GTest::gmock GTest::gtest
                                               GTest::gtest_main)
  add_test(NAME ${target} COMMAND ${target}_test)
  set_tests_properties(${target} PROPERTIES TIMEOUT 300)
endfunction()

# pollux_bench(NAME FOLDER): tests/bench/FOLDER/NAME.cc, a Google Benchmark program over the library
# of FOLDER. Left out where Google Benchmark (libbenchmark-dev) is missing: nothing else needs it.
find_package(benchmark QUIET)
function(pollux_bench name folder)
  if(NOT benchmark_FOUND)
    message(STATUS "No Google Benchmark: ${name} is left out")
    return()
  endif()
  pollux_target_name(${folder} target)
  add_executable(${name} ${PROJECT_SOURCE_DIR}/tests/bench/${folder}/${name}.cc)
  target_compile_options(${name} PRIVATE ${POLLUX_WARNINGS})
  target_link_libraries(${name} PRIVATE ${target} benchmark::benchmark)
endfunction()
