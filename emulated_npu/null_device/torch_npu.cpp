// torch_npu's operators on the null device: for each what its results look like, and which arguments it makes dense.
#include "device.h"

#include <torch/library.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace null_device {
namespace {

using at::ScalarType;
using at::Tensor;
using c10::IValue;
using torch::jit::Stack;

// The arguments of one call by name, as the schema has them.
class Call {
 public:
  Call(const c10::FunctionSchema& schema, const IValue* values) : schema_(schema), values_(values) {}

  const IValue& value(const char* name) const {
    const auto at = schema_.argumentIndexWithName(name);
    TORCH_CHECK(at.has_value(), schema_.name(), " has no argument ", name);
    return values_[*at];
  }
  // By position where an op is called often: looking for a name takes time that a real op does not take.
  const Tensor& nth(size_t at) const { return values_[at].toTensor(); }
  const Tensor& tensor(const char* name) const { return value(name).toTensor(); }
  bool has(const char* name) const { return schema_.argumentIndexWithName(name).has_value() && !value(name).isNone(); }
  std::string text(const char* name) const { return std::string(value(name).toStringView()); }
  const std::string& name() const { return schema_.name(); }

 private:
  const c10::FunctionSchema& schema_;
  const IValue* values_;
};

using Results = std::vector<IValue>;
using Sizes = std::vector<int64_t>;
using Rule = std::function<Results(const Call&)>;

Sizes but_last(const Tensor& tensor, int64_t last) {
  Sizes sizes = tensor.sizes().vec();
  sizes.back() = last;
  return sizes;
}

Sizes without_last(const Tensor& tensor) {
  Sizes sizes = tensor.sizes().vec();
  sizes.pop_back();
  return sizes;
}

Results first_like(const Call& call) { return {like(call.nth(0))}; }

Results first_itself(const Call& call) { return {call.nth(0)}; }

Results first_and_second_like(const Call& call) { return {like(call.tensor("query")), like(call.tensor("key"))}; }

Results nothing(const Call&) { return {}; }

// ATB makes every tensor dense; its results are written to an argument.
Results dense_all(const Call& call) {
  for (size_t at = 0; at < 3; ++at) {
    dense(call.nth(at));
  }
  return {};
}

Results rotary_mul(const Call& call) {
  const auto& x = call.nth(0);
  dense(x);
  return {like(x)};
}

Sizes statistics_of_norm(const Tensor& x, const Tensor& gamma) {
  Sizes sizes = x.sizes().vec();
  for (int64_t back = 1; back <= gamma.dim(); ++back) {
    sizes[sizes.size() - back] = 1;
  }
  return sizes;
}

Results rms_norm(const Call& call) {
  const auto& x = call.nth(0);
  return {like(x), empty(statistics_of_norm(x, call.nth(1)), ScalarType::Float)};
}

Results add_rms_norm(const Call& call) {
  const auto& x = call.nth(0);
  return {like(x), empty(statistics_of_norm(x, call.nth(2)), ScalarType::Float), like(x)};
}

Results swiglu(const Call& call) {
  const auto& x = call.nth(0);
  Sizes sizes = x.sizes().vec();
  auto dimension = call.value("dim").toInt();
  sizes[dimension < 0 ? dimension + x.dim() : dimension] /= 2;
  return {empty(sizes, x.scalar_type())};
}

// [.., heads, size] of a query, with the size of a value.
Sizes attended(const Tensor& query, const Tensor& value, const std::string& layout, int64_t heads) {
  if (layout == "BSH" || layout == "SBH" || layout == "NSD") {
    return query.sizes().vec();
  }
  if (layout == "TND_NTD") {
    return {query.size(1), query.size(0), value.size(-1)};
  }
  if (layout == "NTD_TND") {
    return {query.size(1), query.size(0), value.size(-1)};
  }
  if (layout == "BNSD_BSND" || layout == "BNSD_NBSD") {
    return layout == "BNSD_BSND" ? Sizes{query.size(0), query.size(2), query.size(1), value.size(-1)}
                                 : Sizes{query.size(1), query.size(0), query.size(2), value.size(-1)};
  }
  if (layout == "BSND_NBSD") {
    return {query.size(2), query.size(0), query.size(1), value.size(-1)};
  }
  if (layout == "BSH_NBSD") {
    return {heads, query.size(0), query.size(1), query.size(2) / heads};
  }
  return query.sizes().vec();
}

Results fusion_attention(const Call& call) {
  const auto& query = call.nth(0);
  const auto& value = call.nth(2);
  for (size_t at = 0; at < 3; ++at) {
    dense(call.nth(at));
  }
  const auto layout = call.text("input_layout");
  const auto heads = call.value("head_num").toInt();
  Sizes statistics;
  if (layout == "TND") {
    statistics = {query.size(0), query.size(1), 8};
  } else {
    const bool batch_second = layout == "SBH";
    const int64_t length = layout == "BNSD" ? 2 : batch_second ? 0 : 1;
    statistics = {query.size(batch_second ? 1 : 0), heads, query.size(length), 8};
  }
  const bool flat = layout == "BSH" || layout == "SBH";
  return {
      flat ? like(query) : empty(but_last(query, value.size(-1)), query.scalar_type()),
      empty(statistics, ScalarType::Float),
      empty(statistics, ScalarType::Float),
      empty({0}, query.scalar_type()),
      int64_t(0),
      int64_t(0),
      int64_t(0)};
}

Results fused_infer(const Call& call) {
  const auto& query = call.nth(0);
  const auto& value = call.nth(2);
  dense(query);
  const auto layout = call.text("input_layout");
  const bool second = call.has("num_query_heads");
  const auto heads = call.value(second ? "num_query_heads" : "num_heads").toInt();
  const bool wants_statistics = call.value(second ? "return_softmax_lse" : "softmax_lse_flag").toBool();
  Sizes statistics{0};
  if (wants_statistics) {
    statistics = layout.rfind("TND", 0) == 0 ? Sizes{query.size(0), query.size(1), 1}
                                             : Sizes{query.size(0), heads, query.size(1), 1};
  }
  // A cache of pages says no size of a head; then it is the query's.
  const bool paged = !call.value("block_table").isNone();
  const auto sizes = attended(query, paged ? query : value, layout, heads);
  return {empty(sizes, query.scalar_type()), empty(statistics, ScalarType::Float)};
}

Results fused_infer_out(const Call& call) {
  dense(call.nth(0));
  const auto out = call.value("out").toTensorVector();
  return {out[0], out[1]};
}

Results workspace(const Call& call) { return {empty({1}, call.nth(0).scalar_type())}; }

Results dynamic_quant(const Call& call) {
  const auto& x = call.nth(0);
  return {empty(x.sizes(), ScalarType::Char), empty(without_last(x), ScalarType::Float)};
}

Results quantize(const Call& call) { return {empty(call.nth(0).sizes(), ScalarType::Char)}; }

Results pair_itself(const Call& call) { return {call.nth(0), call.nth(1)}; }

Results key_and_value(const Call& call) { return {call.tensor("key"), call.tensor("value")}; }

// The latent vector and the rotated key of [batch, 1, tokens, 512 + 64], into pages and beside.
Results kv_rmsnorm_rope_cache(const Call& call) {
  const auto& kv = call.tensor("kv");
  const auto latent = call.tensor("gamma").size(-1);
  return {
      call.tensor("k_cache"),
      call.tensor("ckv_cache"),
      empty(but_last(kv, kv.size(-1) - latent), kv.scalar_type()),
      empty(but_last(kv, latent), kv.scalar_type())};
}

Results mla_prolog(const Call& call) {
  const auto& tokens = call.tensor("token_x");
  const auto& up = call.tensor("weight_uk");
  Sizes query = without_last(tokens);
  Sizes rotated = query;
  query.push_back(up.size(0));
  query.push_back(up.size(2));
  rotated.push_back(up.size(0));
  rotated.push_back(call.tensor("rope_sin").size(-1));
  const auto type = up.scalar_type();
  Results results{empty(query, type), empty(rotated, type), call.tensor("kv_cache"), call.tensor("kr_cache")};
  if (call.name() == "npu::npu_mla_prolog_v2") {
    results.push_back(empty({0}, ScalarType::Float));
  }
  return results;
}

Results transpose_batchmatmul(const Call& call) {
  const auto order = [&](const char* name, Sizes sizes) {
    if (!call.has(name)) {
      return sizes;
    }
    Sizes found;
    for (const auto axis : call.value(name).toIntVector()) {
      found.push_back(sizes[axis]);
    }
    return found.empty() ? sizes : found;
  };
  const auto one = order("perm_x1", call.nth(0).sizes().vec());
  const auto other = order("perm_x2", call.nth(1).sizes().vec());
  const auto product = call.has("perm_y") ? order("perm_y", Sizes{one[0], one[1], other[2]})
                                          : Sizes{one[1], one[0], other[2]};
  return {empty(product, call.nth(0).scalar_type())};
}

Results attention_update(const Call& call) {
  const auto statistics = call.value("lse").toTensorVector();
  const auto parts = call.value("local_out").toTensorVector();
  return {like(parts.at(0)), like(statistics.at(0))};
}

Results latent_attention(const Call& call) {
  const auto& query = call.nth(0);
  Results results{like(query)};
  if (call.has("return_lse")) {
    results.push_back(empty({query.size(0), query.size(1)}, ScalarType::Float));
  }
  return results;
}

Results ring_mla(const Call& call) {
  const auto& query = call.tensor("q_nope");
  return {
      empty(but_last(query, call.tensor("value").size(-1)), query.scalar_type()),
      empty({query.size(1), query.size(0)}, ScalarType::Float)};
}

Results written(const Call& call) {
  return call.has("output") ? (call.has("lse") ? Results{call.tensor("output"), call.tensor("lse")}
                                : call.has("softmax_lse")
                                    ? Results{call.tensor("output"), call.tensor("softmax_lse")}
                                    : Results{call.tensor("output")})
                            : Results{};
}

Results format(const Call&) { return {int64_t(2)}; }

struct Op {
  Rule rule;
  bool kernel = true;
};

const std::map<std::string, Op>& rules() {
  static const std::map<std::string, Op> all{
      {"atb::_npu_flash_attention", {dense_all}},
      {"atb::_npu_flash_attention_unpad", {dense_all}},
      {"atb::_npu_flash_attention_unpad_v2", {dense_all}},
      {"atb::_npu_paged_attention", {dense_all}},
      {"atb::_npu_paged_attention_get_workspace", {workspace, false}},
      {"atb::_npu_paged_attention_mla", {nothing}},
      {"atb::_npu_reshape_and_cache", {nothing}},
      {"atb::_npu_reshape_and_cache_siso", {nothing}},
      {"atb::_npu_rotary_embedding", {nothing}},
      {"atb::npu_multi_head_latent_attention", {latent_attention}},
      {"atb::npu_multi_head_latent_attention.lse", {latent_attention}},
      {"atb::npu_multi_head_latent_attention.lse_out", {written}},
      {"atb::npu_multi_head_latent_attention.out", {written}},
      {"atb::npu_paged_cache_load.out", {key_and_value}},
      {"atb::npu_ring_mla", {ring_mla}},
      {"atb::npu_ring_mla.out", {written}},
      {"npu::_npu_fused_infer_attention_score_get_max_workspace", {workspace, false}},
      {"npu::_npu_fused_infer_attention_score_v2_get_max_workspace", {workspace, false}},
      {"npu::get_npu_format", {format, false}},
      {"npu::npu_add_rms_norm", {add_rms_norm}},
      {"npu::npu_apply_rotary_pos_emb", {pair_itself}},
      {"npu::npu_attention_update", {attention_update}},
      {"npu::npu_dynamic_quant", {dynamic_quant}},
      {"npu::npu_fast_gelu", {first_like}},
      {"npu::npu_format_cast", {first_like}},
      {"npu::npu_format_cast.Tensor", {first_like}},
      {"npu::npu_format_cast_", {first_itself}},
      {"npu::npu_format_cast_.acl_format", {first_itself}},
      {"npu::npu_fused_infer_attention_score", {fused_infer}},
      {"npu::npu_fused_infer_attention_score.out", {fused_infer_out}},
      {"npu::npu_fused_infer_attention_score_v2", {fused_infer}},
      {"npu::npu_fused_infer_attention_score_v2.out", {fused_infer_out}},
      {"npu::npu_fusion_attention", {fusion_attention}},
      {"npu::npu_interleave_rope", {first_like}},
      {"npu::npu_kv_rmsnorm_rope_cache", {kv_rmsnorm_rope_cache}},
      {"npu::npu_mla_prolog", {mla_prolog}},
      {"npu::npu_mla_prolog_v2", {mla_prolog}},
      {"npu::npu_mrope", {first_and_second_like}},
      {"npu::npu_prefetch", {nothing, false}},
      {"npu::npu_prompt_flash_attention", {first_like}},
      {"npu::npu_quantize", {quantize}},
      {"npu::npu_rms_norm", {rms_norm}},
      {"npu::npu_rotary_mul", {rotary_mul}},
      {"npu::npu_swiglu", {swiglu}},
      {"npu::npu_transpose_batchmatmul", {transpose_batchmatmul}},
  };
  return all;
}

class Kernel final : public c10::OperatorKernel {
 public:
  explicit Kernel(const Op* op) : op_(op) {}

  void operator()(const c10::OperatorHandle& handle, c10::DispatchKeySet, Stack* stack) {
    const auto& schema = handle.schema();
    TORCH_CHECK_NOT_IMPLEMENTED(
        op_ != nullptr, schema.name(),
        " has no rule for the shape of its results on the null device. Add it to torch_npu.cpp there.");
    const size_t count = schema.arguments().size();
    auto results = op_->rule(Call(schema, stack->data() + stack->size() - count));
    if (op_->kernel) {
      launched();
    }
    torch::jit::drop(*stack, count);
    for (auto& each : results) {
      stack->push_back(std::move(each));
    }
  }

 private:
  const Op* op_;
};

// The libraries, which take their operators with them when they go.
std::vector<std::unique_ptr<torch::Library>>& libraries() {
  static auto* all = new std::vector<std::unique_ptr<torch::Library>>();
  return *all;
}

void define(const std::string& space, const std::string& schema) {
  auto library = std::make_unique<torch::Library>(
      torch::Library::FRAGMENT, space, std::nullopt, __FILE__, static_cast<uint32_t>(__LINE__));
  library->def(torch::schema(schema.c_str()));
  const auto name = schema.substr(0, schema.find('('));
  const auto found = rules().find(space + "::" + name);
  library->impl(
      name.c_str(),
      torch::dispatch(
          c10::DispatchKey::PrivateUse1,
          torch::CppFunction::makeFromBoxedFunctor(
              std::make_unique<Kernel>(found == rules().end() ? nullptr : &found->second))));
  libraries().push_back(std::move(library));
}

}  // namespace
}  // namespace null_device

TORCH_LIBRARY_FRAGMENT(null_device, library) {
  library.def("define(str space, str schema) -> ()", &null_device::define);
}
