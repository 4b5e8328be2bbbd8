#include "multifrontal.hpp"

#include <algorithm>
#include <atomic>

#include "dense.hpp"

namespace eqp {

Cholesky::Cholesky(std::shared_ptr<const Symbolic> symbolic, Workers& workers)
    : symbolic_(std::move(symbolic)),
      workers_(workers),
      panels_(new double[static_cast<std::size_t>(symbolic_->entries)]),
      update_(symbolic_->tree.block.size()),
      ordered_(static_cast<std::size_t>(symbolic_->n)),
      carried_(static_cast<std::size_t>(symbolic_->updates)) {}

bool Cholesky::factorise(const double* values, const double* diagonal, double scale,
                         double shift) {
  const Symbolic& s = *symbolic_;
  std::atomic<bool> positive{true};
  workers_.run(static_cast<std::int64_t>(s.task_root.size()), [&](std::int64_t k) {
    for (std::int32_t b = s.task_first[k]; b <= s.task_root[k] && positive.load(); ++b) {
      if (!eliminate(b, values, diagonal, scale, shift, nullptr)) positive.store(false);
    }
  });
  for (std::int32_t b : s.top) {
    if (!positive.load()) break;
    if (!eliminate(b, values, diagonal, scale, shift, &workers_)) positive.store(false);
  }
  for (auto& update : update_) update.reset();
  return positive.load();
}

bool Cholesky::eliminate(std::int32_t block, const double* values, const double* diagonal,
                         double scale, double shift, Workers* workers) {
  const Symbolic& s = *symbolic_;
  const int width = s.columns(block), below = s.below(block);
  const std::int64_t height = width + below;
  double* panel = panels_.get() + s.panel_start[block];
  std::fill(panel, panel + width * height, 0.0);
  for (auto k = s.entry_start[block]; k < s.entry_start[block + 1]; ++k) {
    panel[s.entry[k].place] = scale * values[s.entry[k].source];
  }
  for (int k = 0; k < width; ++k) {
    panel[k + k * height] = scale * diagonal[s.tree.node[s.tree.block[block].begin + k]] + shift;
  }
  double* update = nullptr;
  if (below > 0) {
    update_[block].reset(new double[static_cast<std::size_t>(below) * below]());
    update = update_[block].get();
  }
  for (auto c = s.child_start[block]; c < s.child_start[block + 1]; ++c) {
    const std::int32_t child = s.child[c];
    const int size = s.below(child);
    const std::int32_t* into = s.into_parent.data() + s.row_start[child];
    const double* source = update_[child].get();
    for (int j = 0; j < size; ++j) {
      const double* from = source + static_cast<std::int64_t>(j) * size;
      if (into[j] < width) {
        double* to = panel + into[j] * height;
        for (int i = j; i < size; ++i) to[into[i]] += from[i];
      } else {
        double* to = update + std::int64_t{into[j] - width} * below - width;
        for (int i = j; i < size; ++i) to[into[i]] += from[i];
      }
    }
    update_[child].reset();
  }
  if (!factor_panel(panel, static_cast<int>(height), width, workers)) return false;
  if (below > 0) {
    subtract_outer(update, below, panel + width, static_cast<int>(height), width, workers);
  }
  return true;
}

void Cholesky::solve(const double* b, double* x) {
  const Symbolic& s = *symbolic_;
  for (int k = 0; k < s.n; ++k) ordered_[k] = b[s.tree.node[k]];
  const auto tasks = static_cast<std::int64_t>(s.task_root.size());
  workers_.run(tasks, [&](std::int64_t k) {
    for (std::int32_t block = s.task_first[k]; block <= s.task_root[k]; ++block) forward(block);
  });
  for (std::int32_t block : s.top) forward(block);
  for (auto it = s.top.rbegin(); it != s.top.rend(); ++it) backward(*it);
  workers_.run(tasks, [&](std::int64_t k) {
    for (std::int32_t block = s.task_root[k]; block >= s.task_first[k]; --block) backward(block);
  });
  for (int k = 0; k < s.n; ++k) x[s.tree.node[k]] = ordered_[k];
}

void Cholesky::forward(std::int32_t block) {
  const Symbolic& s = *symbolic_;
  const int width = s.columns(block), below = s.below(block);
  double* y = ordered_.data() + s.tree.block[block].begin;
  double* t = carried_.data() + s.row_start[block];
  std::fill(t, t + below, 0.0);
  for (auto c = s.child_start[block]; c < s.child_start[block + 1]; ++c) {
    const std::int32_t child = s.child[c];
    for (auto r = s.row_start[child]; r < s.row_start[child + 1]; ++r) {
      const std::int32_t place = s.into_parent[r];
      (place < width ? y[place] : t[place - width]) += carried_[r];
    }
  }
  solve_forward(panels_.get() + s.panel_start[block], width + below, width, y, t);
}

void Cholesky::backward(std::int32_t block) {
  const Symbolic& s = *symbolic_;
  const int width = s.columns(block), below = s.below(block);
  double* y = ordered_.data() + s.tree.block[block].begin;
  double* t = carried_.data() + s.row_start[block];
  for (int k = 0; k < below; ++k) t[k] = ordered_[s.row[s.row_start[block] + k]];
  solve_backward(panels_.get() + s.panel_start[block], width + below, width, y, t);
}

}  // namespace eqp
