#pragma once
#include <string>

namespace pollux::service {

// The answer of a method that has nothing to tell but that it is done.
template <typename Response>
Response Done() {
  Response response;
  response.set_ok(true);
  return response;
}

// The answer of a method that made something: its name.
template <typename Response>
Response Named(const std::string& name) {
  Response response;
  response.set_name(name);
  return response;
}

}  // namespace pollux::service
