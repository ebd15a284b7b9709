#pragma once
#include <istream>
#include <ostream>
#include <string>
#include <vector>

#include "cli/catalog.h"
#include "cli/run.h"
#include "cli/session.h"
#include "rpc/spdk_config.h"

namespace pollux::cli {

// save, load, diff and apply: whole configurations, in SPDK's format.
class ConfigCommands {
 public:
  struct Environment {
    const Catalog& catalog;
    Session& session;
    std::istream& in;
    std::ostream& out;
    std::ostream& err;
  };
  explicit ConfigCommands(Environment environment) : e_(environment) {}

  // words[0] is "save", ... Null-like: kMisused with a line that says how.
  ExitCode Run(const Words& words);
  static bool Has(const std::string& name);

 private:
  // Writes the running configuration: to the output, or to a file of mode 0600, whole or not at
  // all.
  ExitCode Save(const std::string& path);
  // Makes all calls of the file, in order, until one fails. Before the initialisation those of the
  // start-up first, then the initialisation.
  ExitCode Load(const std::string& path);
  // Says what differs: kRefused when something does.
  ExitCode Diff(const std::string& path);
  // Makes what is missing, says what differs.
  ExitCode Apply(const std::string& path);

  Result<std::vector<rpc::ConfiguredCall>> Read(const std::string& path);
  // Without what this version does not have at all, which is said.
  ExitCode ReadKnown(const std::string& path, std::vector<rpc::ConfiguredCall>& calls);
  ExitCode Running(std::vector<rpc::ConfiguredCall>& calls);
  // The result of a call; what went wrong has been shown.
  ExitCode Ask(const std::string& method, const std::string& params, std::string& result);
  ExitCode Make(const rpc::SavedCall& call);
  void ShowDifference(const std::string& sign, const rpc::SavedCall& call);

  const Environment e_;
};

}  // namespace pollux::cli
