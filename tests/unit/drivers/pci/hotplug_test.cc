#include "drivers/pci/hotplug.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace pollux::pci {
namespace {

using namespace std::string_literals;
using Action = HotplugEvent::Action;

// As Linux 6.12 sent it when an SSD was plugged in.
const char kAdd[] =
    "add@/devices/pci0000:00/0000:00:04.0/0000:01:00.0\0ACTION=add\0"
    "DEVPATH=/devices/pci0000:00/0000:00:04.0/0000:01:00.0\0SUBSYSTEM=pci\0PCI_CLASS=10802\0"
    "PCI_ID=1B36:0010\0PCI_SUBSYS_ID=1AF4:1100\0PCI_SLOT_NAME=0000:01:00.0\0"
    "MODALIAS=pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02\0SEQNUM=1234";

std::string With(const std::string& from, const std::string& to) {
  std::string message(kAdd, sizeof(kAdd));
  message.replace(message.find(from), from.size(), to);
  return message;
}

TEST(HotplugTest, ReadsThatAFunctionWasPluggedIn) {
  const auto event = ParseUevent({kAdd, sizeof(kAdd)});
  ASSERT_TRUE(event);
  EXPECT_EQ(event->action, Action::kAdd);
  EXPECT_EQ(ToString(event->address), "0000:01:00.0");
  EXPECT_EQ(event->class_code, 0x010802u);
  EXPECT_EQ(event->driver, "");
}

TEST(HotplugTest, ReadsTheOtherActions) {
  EXPECT_EQ(ParseUevent(With("ACTION=add", "ACTION=remove"))->action, Action::kRemove);
  EXPECT_EQ(ParseUevent(With("ACTION=add", "ACTION=unbind"))->action, Action::kUnbind);
  const auto bound = ParseUevent(With("ACTION=add", "ACTION=bind\0DRIVER=vfio-pci"s));
  EXPECT_EQ(bound->action, Action::kBind);
  EXPECT_EQ(bound->driver, "vfio-pci");
}

TEST(HotplugTest, HearsOfNothingElse) {
  EXPECT_FALSE(ParseUevent(With("SUBSYSTEM=pci", "SUBSYSTEM=nvme")));
  EXPECT_FALSE(ParseUevent(With("ACTION=add", "ACTION=change")));
  EXPECT_FALSE(ParseUevent(With("ACTION=add", "ACTIONS=add")));
  EXPECT_FALSE(ParseUevent(With("PCI_SLOT_NAME=0000:01:00.0", "PCI_SLOT_NAME=../../etc")));
  EXPECT_FALSE(ParseUevent(With("@", "#")));  // udev's messages begin with "libudev".
}

TEST(HotplugTest, AMessageThatIsCutAnywhereIsOneOrNone) {
  for (size_t bytes = 0; bytes < sizeof(kAdd); ++bytes) {
    const std::string cut(kAdd, bytes);  // On the heap, where a sanitizer sees its end.
    const auto event = ParseUevent(cut);
    EXPECT_TRUE(!event || event->address == PciAddress{.bus = 1}) << bytes;
  }
}

TEST(HotplugTest, AnyBytesAreRead) {
  std::mt19937 random(3);
  for (int i = 0; i < 20000; ++i) {
    std::string message(kAdd, sizeof(kAdd));
    for (int damage = 0; damage < 8; ++damage) {
      message[random() % message.size()] = static_cast<char>(random());
    }
    ParseUevent(message);
  }
  ParseUevent("");
  ParseUevent(std::string(100, '\0'));
  ParseUevent(std::string(100, '='));
}

TEST(HotplugTest, AMonitorThatHearsNothingDoesNotWait) {
  const Result<std::unique_ptr<HotplugMonitor>> monitor = HotplugMonitor::Start();
  if (!monitor.ok()) GTEST_SKIP() << monitor.status();
  const HotplugMonitor::Batch batch = (*monitor)->Read();
  EXPECT_TRUE(batch.events.empty());
  EXPECT_FALSE(batch.lost);
}

}  // namespace
}  // namespace pollux::pci
