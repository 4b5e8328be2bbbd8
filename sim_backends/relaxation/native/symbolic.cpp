#include "symbolic.hpp"

#include <algorithm>
#include <functional>
#include <iterator>
#include <map>
#include <numeric>
#include <stdexcept>

namespace eqp {

namespace {

constexpr Index kWidth = 32;  // widest supernode: its rows stay in the first-level cache

// Rough cycles of a group in one flow step: factorisation, its write-backs, six solves.
double cost(double cols, double rows) {
  const double multiply = cols * cols * cols / 6.0 + cols * cols * rows / 2.0 +
                          cols * rows * rows / 2.0;
  return multiply + rows * rows + 30.0 * cols + 15.0 * (cols * cols / 2.0 + cols * rows) + 250.0;
}

// Children before parents, each subtree contiguous. Leaves come first, sorted by their rows,
// so that those with equal rows stand together; the largest subtree comes last, so that its
// root is next to the parent.
std::vector<Index> post_order(const std::vector<Index>& order, const std::vector<Index>& parent,
                              const Lists& below) {
  const Index n = static_cast<Index>(order.size());
  Lists children(n);
  std::vector<Index> roots, size(n, 1);
  for (Index v : order) {
    if (parent[v] < 0) {
      roots.push_back(v);
    } else {
      children[parent[v]].push_back(v);
      size[parent[v]] += size[v];
    }
  }
  for (auto& list : children) {
    std::stable_sort(list.begin(), list.end(), [&](Index a, Index b) {
      if (size[a] != size[b]) return size[a] < size[b];
      return size[a] == 1 && below[a] < below[b];
    });
  }
  std::vector<Index> result;
  result.reserve(n);
  std::vector<std::pair<Index, std::size_t>> stack;
  for (Index root : roots) {
    stack.push_back({root, 0});
    while (!stack.empty()) {
      auto& top = stack.back();
      const Index v = top.first;
      if (top.second < children[v].size()) {
        const Index child = children[v][top.second++];
        stack.push_back({child, 0});
      } else {
        result.push_back(v);
        stack.pop_back();
      }
    }
  }
  return result;
}

}  // namespace

Symbolic::Symbolic(Index n, const std::vector<std::pair<Index, Index>>& bonds)
    : n_(n), n_bonds_(static_cast<Index>(bonds.size())) {
  Lists adjacency(n);
  for (const auto& bond : bonds) {
    adjacency[bond.first].push_back(bond.second);
    adjacency[bond.second].push_back(bond.first);
  }
  Elimination e = best_elimination(adjacency);
  std::vector<Index> rank(n);
  for (Index k = 0; k < n; ++k) rank[e.order[k]] = k;
  std::vector<Index> parent(n, -1);
  for (Index v = 0; v < n; ++v) {
    for (Index u : e.below[v])
      if (parent[v] < 0 || rank[u] < rank[parent[v]]) parent[v] = u;
    std::sort(e.below[v].begin(), e.below[v].end());
  }
  order_ = post_order(e.order, parent, e.below);
  position_.resize(n);
  for (Index k = 0; k < n; ++k) position_[order_[k]] = k;

  Lists below(n);
  std::vector<Index> internal_parent(n, -1);
  for (Index k = 0; k < n; ++k) {
    for (Index u : e.below[order_[k]]) below[k].push_back(position_[u]);
    std::sort(below[k].begin(), below[k].end());
    if (!below[k].empty()) internal_parent[k] = below[k].front();
  }
  Lists internal_adjacency(n);
  for (Index b = 0; b < n_bonds_; ++b) {
    Index i = position_[bonds[b].first], j = position_[bonds[b].second];
    bonds_.push_back({i, j});
    internal_adjacency[i].push_back(j);
    internal_adjacency[j].push_back(i);
  }
  const std::vector<Group> groups = group_columns(below, internal_parent);
  lay_out_panels(groups);
  connect(groups);
  place_bonds(bonds_);
  for (auto& list : internal_adjacency) std::sort(list.begin(), list.end());
  block_rows(internal_adjacency);
}

std::vector<Symbolic::Group> Symbolic::group_columns(const Lists& below,
                                                     const std::vector<Index>& parent) const {
  std::vector<bool> leaf(n_, true);
  for (Index k = 0; k < n_; ++k)
    if (parent[k] >= 0) leaf[parent[k]] = false;

  std::vector<Group> merged;
  for (Index k = 0; k < n_; ++k) {
    Group next{k, 1, false, below[k]};
    if (leaf[k]) {
      // Leaves with equal rows do not touch each other: a diagonal group.
      while (k + 1 < n_ && leaf[k + 1] && below[k + 1] == next.rows) {
        ++k;
        ++next.cols;
      }
      next.diagonal = next.cols > 1;
    }
    // A group is absorbed by its parent when that is cheaper in spite of the zeros stored.
    while (!merged.empty() && !next.diagonal) {
      const Group& last = merged.back();
      if (last.diagonal || parent[next.first - 1] != next.first) break;
      const double apart = cost(last.cols, static_cast<double>(last.rows.size())) +
                           cost(next.cols, static_cast<double>(next.rows.size()));
      if (cost(last.cols + next.cols, static_cast<double>(next.rows.size())) > apart) break;
      next.first = last.first;
      next.cols += last.cols;
      merged.pop_back();
    }
    merged.push_back(std::move(next));
  }

  std::vector<Group> result;
  for (const Group& group : merged) {
    const Index parts = (group.cols + kWidth - 1) / kWidth;
    for (Index p = 0; p < parts; ++p) {
      const Index begin = group.first + group.cols * p / parts;
      const Index end = group.first + group.cols * (p + 1) / parts;
      Group part{begin, end - begin, group.diagonal, {}};
      if (!group.diagonal)
        for (Index c = end; c < group.first + group.cols; ++c) part.rows.push_back(c);
      part.rows.insert(part.rows.end(), group.rows.begin(), group.rows.end());
      result.push_back(std::move(part));
    }
  }
  return result;
}

void Symbolic::lay_out_panels(const std::vector<Group>& groups) {
  group_of_.resize(n_);
  std::int64_t total_rows = 0;
  for (std::size_t j = 0; j < groups.size(); ++j) {
    const Group& group = groups[j];
    Supernode s{};
    s.first = group.first;
    s.cols = group.cols;
    s.rows = static_cast<Index>(group.rows.size());
    s.diagonal = group.diagonal;
    s.row_list = static_cast<Index>(rows_.size());
    s.panel = panel_total_;
    s.panel_size = std::int64_t(s.rows + (s.diagonal ? 0 : s.cols)) * s.cols;
    s.same_rows_as_next = j + 1 < groups.size() && groups[j + 1].rows == group.rows;
    panel_total_ += s.panel_size;
    total_rows += s.rows;
    if (s.panel_size > INT32_MAX || total_rows > INT32_MAX)
      throw std::length_error("the factor of this graph is too large");
    max_cols_ = std::max(max_cols_, s.cols);
    max_rows_ = std::max(max_rows_, s.rows);
    rows_.insert(rows_.end(), group.rows.begin(), group.rows.end());
    for (Index c = 0; c < s.cols; ++c) group_of_[s.first + c] = static_cast<Index>(j);
    supernodes_.push_back(s);
  }
}

void Symbolic::connect(const std::vector<Group>& groups) {
  std::vector<Index> place(n_, -1);
  // Updates grouped by target, and by source within a target.
  Lists by_target(groups.size());
  std::vector<Update> found;
  for (std::size_t j = 0; j < groups.size(); ++j) {
    const auto& rows = groups[j].rows;
    Index p = 0;
    while (p < static_cast<Index>(rows.size())) {
      const Index target = group_of_[rows[p]];
      Index q = p;
      while (q < static_cast<Index>(rows.size()) && group_of_[rows[q]] == target) ++q;
      by_target[target].push_back(static_cast<Index>(found.size()));
      found.push_back({static_cast<Index>(j), target, p, q, 0});
      p = q;
    }
  }
  Lists by_source(groups.size());
  for (std::size_t t = 0; t < groups.size(); ++t) {
    const Group& group = groups[t];
    for (Index c = 0; c < group.cols; ++c) place[group.first + c] = c;
    for (std::size_t r = 0; r < group.rows.size(); ++r)
      place[group.rows[r]] = group.cols + static_cast<Index>(r);
    supernodes_[t].update_begin = static_cast<Index>(updates_.size());
    for (Index id : by_target[t]) {
      Update u = found[id];
      const auto& rows = groups[u.source].rows;
      if (rel_.size() + rows.size() > INT32_MAX)
        throw std::length_error("the factor of this graph is too large");
      u.rel = static_cast<Index>(rel_.size());
      for (std::size_t r = u.begin; r < rows.size(); ++r) rel_.push_back(place[rows[r]]);
      by_source[u.source].push_back(static_cast<Index>(updates_.size()));
      updates_.push_back(u);
    }
    supernodes_[t].update_end = static_cast<Index>(updates_.size());
  }
  for (std::size_t j = 0; j < groups.size(); ++j) {
    supernodes_[j].out_begin = static_cast<Index>(sent_.size());
    sent_.insert(sent_.end(), by_source[j].begin(), by_source[j].end());
    supernodes_[j].out_end = static_cast<Index>(sent_.size());
  }
}

void Symbolic::place_bonds(const std::vector<std::pair<Index, Index>>& bonds) {
  std::vector<std::vector<Entry>> by_group(supernodes_.size());
  for (Index b = 0; b < n_bonds_; ++b) {
    const Index col = std::min(bonds[b].first, bonds[b].second);
    const Index row = std::max(bonds[b].first, bonds[b].second);
    const Supernode& s = supernodes_[group_of_[col]];
    Index at;
    if (row < s.first + s.cols) {
      at = row - s.first;
    } else {
      const auto begin = rows_.begin() + s.row_list;
      at = static_cast<Index>(std::lower_bound(begin, begin + s.rows, row) - begin);
      if (!s.diagonal) at += s.cols;
    }
    by_group[group_of_[col]].push_back({at * s.cols + (col - s.first), row, col, b});
  }
  for (std::size_t j = 0; j < by_group.size(); ++j) {
    auto& list = by_group[j];
    std::sort(list.begin(), list.end(), [](const Entry& a, const Entry& b) { return a.pos < b.pos; });
    supernodes_[j].entry_begin = static_cast<Index>(entries_.size());
    entries_.insert(entries_.end(), list.begin(), list.end());
    supernodes_[j].entry_end = static_cast<Index>(entries_.size());
  }
}

void Symbolic::block_rows(const Lists& adjacency) {
  std::vector<std::map<Index, Index>> bond_of(n_);
  for (Index b = 0; b < n_bonds_; ++b) {
    bond_of[bonds_[b].first][bonds_[b].second] = b;
    bond_of[bonds_[b].second][bonds_[b].first] = b;
  }
  Index row = 0;
  while (row < n_) {
    // Sharing a phasor load among rows pays as long as the padding stays small.
    Index count = 1;
    std::vector<Index> shared = adjacency[row];
    while (count < 4 && row + count < n_) {
      const auto& next = adjacency[row + count];
      std::vector<Index> wider;
      std::set_union(shared.begin(), shared.end(), next.begin(), next.end(),
                     std::back_inserter(wider));
      const double single = 4.0 * static_cast<double>(next.size());
      const double before = (2.0 + 2.0 * count) * static_cast<double>(shared.size());
      const double after = (4.0 + 2.0 * count) * static_cast<double>(wider.size());
      if (after >= before + single) break;
      shared.swap(wider);
      ++count;
    }
    RowBlock block{row, count, static_cast<Index>(neighbours_.size()),
                   static_cast<Index>(shared.size()), static_cast<std::int64_t>(value_bond_.size())};
    for (Index j : shared) {
      neighbours_.push_back(j);
      for (Index m = 0; m < count; ++m) {
        const auto found = bond_of[row + m].find(j);
        value_bond_.push_back(found == bond_of[row + m].end() ? -1 : found->second);
      }
    }
    blocks_.push_back(block);
    row += count;
  }
}

GraphView Symbolic::view() const {
  GraphView g{};
  g.n = n_;
  g.n_bonds = n_bonds_;
  g.n_supernodes = static_cast<Index>(supernodes_.size());
  g.n_blocks = static_cast<Index>(blocks_.size());
  g.max_cols = max_cols_;
  g.max_rows = max_rows_;
  g.panel_total = panel_total_;
  g.order = order_.data();
  g.supernodes = supernodes_.data();
  g.rows = rows_.data();
  g.updates = updates_.data();
  g.sent = sent_.data();
  g.rel = rel_.data();
  g.entries = entries_.data();
  g.blocks = blocks_.data();
  g.neighbours = neighbours_.data();
  return g;
}

void Symbolic::arrange(const double* coupling, std::vector<double>& values,
                       std::vector<double>& entry_j, std::vector<double>& stiffness) const {
  values.resize(value_bond_.size());
  for (std::size_t k = 0; k < values.size(); ++k)
    values[k] = value_bond_[k] < 0 ? 0.0 : coupling[value_bond_[k]];
  entry_j.resize(entries_.size());
  for (std::size_t e = 0; e < entry_j.size(); ++e) entry_j[e] = coupling[entries_[e].bond];
  stiffness.assign(n_, 0.0);
  for (Index b = 0; b < n_bonds_; ++b) {
    const double size = 2.0 * (coupling[b] < 0 ? -coupling[b] : coupling[b]);
    stiffness[bonds_[b].first] += size;
    stiffness[bonds_[b].second] += size;
  }
}

}  // namespace eqp
