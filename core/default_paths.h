#pragma once
#include <string>

namespace pollux {

// Where polluxd listens and keeps its state unless told otherwise: /run/pollux and /var/lib/pollux
// for root, below the user's runtime and state directories (XDG) otherwise.
std::string DefaultRpcSocket();
std::string DefaultStateDirectory();

}  // namespace pollux
