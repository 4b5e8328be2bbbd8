// A few worker threads that share numbered tasks, and sums over fixed chunks.
//
// Which thread runs a task never matters: a task writes its own range only, and partial sums
// are added in the order of the chunks. Results are therefore the same for any thread count.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace eqp {

class Workers {
 public:
  explicit Workers(int threads) {
    for (int k = 1; k < threads; ++k) pool_.emplace_back([this] { serve(); });
  }
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;
  ~Workers() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    for (auto& thread : pool_) thread.join();
  }

  int threads() const { return static_cast<int>(pool_.size()) + 1; }

  // Call task(k) for k in 0..count-1; returns when all are done. Not to be nested.
  template <class Task>
  void run(std::int64_t count, Task&& task) {
    if (count <= 1 || pool_.empty()) {
      for (std::int64_t k = 0; k < count; ++k) task(k);
      return;
    }
    using Bare = std::remove_reference_t<Task>;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      call_ = [](void* context, std::int64_t k) { (*static_cast<Bare*>(context))(k); };
      context_ = const_cast<void*>(static_cast<const void*>(&task));
      count_ = count;
      next_.store(0);
      busy_ = static_cast<int>(pool_.size());
      error_ = nullptr;
      ++round_;
    }
    wake_.notify_all();
    work();
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return busy_ == 0; });
    if (error_) std::rethrow_exception(error_);
  }

 private:
  void work() {
    try {
      for (std::int64_t k = next_.fetch_add(1); k < count_; k = next_.fetch_add(1)) {
        call_(context_, k);
      }
    } catch (...) {
      std::lock_guard<std::mutex> lock(mutex_);
      error_ = std::current_exception();
    }
  }

  void serve() {
    std::uint64_t seen = 0;
    for (;;) {
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return stop_ || round_ != seen; });
        if (stop_) return;
        seen = round_;
      }
      work();
      {
        std::lock_guard<std::mutex> lock(mutex_);
        --busy_;
      }
      done_.notify_one();
    }
  }

  std::vector<std::thread> pool_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  void (*call_)(void*, std::int64_t) = nullptr;
  void* context_ = nullptr;
  std::int64_t count_ = 0;
  std::atomic<std::int64_t> next_{0};
  int busy_ = 0;
  std::uint64_t round_ = 0;
  bool stop_ = false;
  std::exception_ptr error_;
};

// Equal row ranges, their number a function of n alone.
class Chunks {
 public:
  explicit Chunks(int n) : n_(n) {
    const int wanted = (n + kRows - 1) / kRows;
    count_ = wanted <= 1 ? 1 : wanted + wanted % 2;
    size_ = (n + count_ - 1) / count_;
    partial_.resize(static_cast<std::size_t>(count_));
  }
  int count() const { return count_; }
  int begin(std::int64_t k) const { return std::min<int>(n_, static_cast<int>(k) * size_); }
  int end(std::int64_t k) const { return std::min<int>(n_, static_cast<int>(k + 1) * size_); }

  template <class Body>  // body(begin, end)
  void each(Workers& workers, Body&& body) const {
    workers.run(count_, [&](std::int64_t k) { body(begin(k), end(k)); });
  }
  template <class Body>  // double body(begin, end)
  double sum(Workers& workers, Body&& body) {
    workers.run(count_, [&](std::int64_t k) { partial_[k] = body(begin(k), end(k)); });
    double total = 0.0;
    for (double part : partial_) total += part;
    return total;
  }
  template <class Body>  // double body(begin, end), NaN wins
  double max(Workers& workers, Body&& body) {
    workers.run(count_, [&](std::int64_t k) { partial_[k] = body(begin(k), end(k)); });
    double largest = partial_[0];
    for (double part : partial_) largest = (part > largest || part != part) ? part : largest;
    return largest;
  }

 private:
  static constexpr int kRows = 32768;
  int n_, count_, size_;
  std::vector<double> partial_;
};

}  // namespace eqp
