#include "cli/accel_perf/options.h"

#include <gtest/gtest.h>

#include "core/clock.h"

namespace pollux::cli {
namespace {

struct Parsed {
  AccelPerfOptions options;
  Status status;
};

Parsed Parse(const std::vector<std::string>& words) {
  Parsed parsed;
  const Flags flags = MakeAccelPerfFlags(parsed.options);
  parsed.status = ParseAccelPerfOptions(flags, words, parsed.options);
  return parsed;
}

TEST(AccelPerfOptions, MeasureTheCpuByDefault) {
  const auto [options, status] = Parse({});
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_TRUE(options.wants_cpu());
  EXPECT_EQ(options.steps, std::vector<AccelOpcode>{AccelOpcode::kCopy});
  EXPECT_EQ(options.duration_ns, 10 * kNsPerSecond);
  EXPECT_FALSE(Parse({"/tmp/ioat"}).options.wants_cpu());
  EXPECT_TRUE(Parse({"/tmp/ioat", "--cpu"}).options.wants_cpu());
}

TEST(AccelPerfOptions, TakeAChain) {
  const auto [options, status] = Parse({"-w", "copy,crc32c,dif_generate_copy", "-o", "64k"});
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(options.steps,
            (std::vector{AccelOpcode::kCopy, AccelOpcode::kCrc32c, AccelOpcode::kDifGenerateCopy}));
  EXPECT_EQ(options.bytes, 65536u);
}

TEST(AccelPerfOptions, TheHelpNamesEveryOperation) {
  AccelPerfOptions options;
  const std::string help = MakeAccelPerfFlags(options).Help();
  for (int i = 0; i < kAccelOpcodeCount; ++i) {
    EXPECT_NE(help.find(AccelOpcodeName(static_cast<AccelOpcode>(i))), std::string::npos) << i;
  }
}

TEST(AccelPerfOptions, RefuseWhatDoesNotFit) {
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{"-w", "encrypt"},
                                             {"-w", ""},
                                             {"-w", "copy,"},
                                             {"-w", "copy,copy,copy,copy,copy"},
                                             {"-w", "dif_verify", "-o", "4000"},
                                             {"-o", "0"},
                                             {"-o", "17m"},
                                             {"-q", "4096", "-o", "16m"},
                                             {"-q", "0"},
                                             {"--sweep"},
                                             {"--operations", "5", "--warmup", "1"},
                                             {"--nonsense"}}) {
    EXPECT_FALSE(Parse(words).status.ok()) << words[0] << " " << words.back();
  }
}

}  // namespace
}  // namespace pollux::cli
