#include "service/reference_handlers.h"

#include "core/version.h"
#include "rpc/reference/embedded_descriptors.h"
#include "rpc/reference/openrpc.h"

namespace pollux::service {

void ReferenceHandlers::Bind(rpc::Dispatcher& dispatcher) {
  dispatcher.Bind("rpc.discover", this, &ReferenceHandlers::Discover);
}

Task<Result<v1::ReferenceDiscoverResponse>> ReferenceHandlers::Discover(
    v1::ReferenceDiscoverRequest) {
  if (document_.empty()) {
    const Result<rpc::Comments> comments = rpc::Comments::Parse(rpc::EmbeddedDescriptors());
    CHECK(comments.ok(), "the build embeds a descriptor set that is whole");
    document_ = rpc::OpenRpcDocument(rpc::CompiledServices(), *comments, kVersion);
  }
  v1::ReferenceDiscoverResponse response;
  response.set_document(document_);
  co_return response;
}

}  // namespace pollux::service
