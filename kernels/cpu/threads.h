// A pool of threads that run one function together, meeting at barriers, with work handed out piece by piece.
#pragma once

#include <immintrin.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstdint>

namespace pw {

// A number that threads wait to see changed: very shortly by spinning, as those waited for are mostly microseconds away; then by giving
// the core up to whoever wants it, as that may be the one waited for, where cores are few or other teams are at work; then asleep.
// Spinning for thousands of turns made engines that share two cores slower together than one after the other.
class Signal {
  public:
    uint32_t value(std::memory_order order = std::memory_order_acquire) const { return value_.load(order); }

    void advance() {
        value_.fetch_add(1);
        // In one total order with the waiter's counting itself in and the kernel's look at the number: either it is seen here, or it
        // sees the new number and doesn't sleep.
        if (sleepers_.load() > 0)
            syscall(SYS_futex, reinterpret_cast<uint32_t*>(&value_), FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
    }

    void wait_while(uint32_t seen) {
        for (int turns = 0; value() == seen; ++turns) {
            if (turns < kSpins) {
                _mm_pause();
            } else if (turns < kSpins + kYields) {
                sched_yield();
            } else {
                sleepers_.fetch_add(1);
                syscall(SYS_futex, reinterpret_cast<uint32_t*>(&value_), FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
                sleepers_.fetch_sub(1);
            }
        }
    }

  private:
    static constexpr int kSpins = 100;
    static constexpr int kYields = 200;
    alignas(64) std::atomic<uint32_t> value_{0};
    std::atomic<uint32_t> sleepers_{0};
};

// Results never depend on which thread does what: a piece of work is computed the same way wherever it lands.
class Team {
  public:
    using Work = void (*)(void* context, Team& team, int thread);

    explicit Team(int count) : count_(count) {
        for (int i = 1; i < count_; ++i) {
            starts_[i] = {this, i};
            if (pthread_create(&threads_[i], nullptr, &Team::loop, &starts_[i]) != 0) {
                count_ = i;
                break;
            }
        }
    }

    ~Team() {
        work_ = nullptr;
        news_.advance();
        for (int i = 1; i < count_; ++i) pthread_join(threads_[i], nullptr);
    }

    Team(const Team&) = delete;
    Team& operator=(const Team&) = delete;

    int count() const { return count_; }

    // Runs the work on every thread, the caller's as number 0; returns when all are done.
    void run(Work work, void* context) {
        work_ = work;
        context_ = context;
        next_.store(0, std::memory_order_relaxed);
        news_.advance();
        work(context, *this, 0);
        barrier();
    }

    // Until every thread is here. What they wrote is then seen by all, and handing out starts again from 0.
    void barrier() {
        const uint32_t phase = phase_.value(std::memory_order_relaxed);
        if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == static_cast<uint32_t>(count_)) {
            arrived_.store(0, std::memory_order_relaxed);
            next_.store(0, std::memory_order_relaxed);
            phase_.advance();
            return;
        }
        phase_.wait_while(phase);
    }

    // The barriers passed so far, and the pieces handed out since: changes while work goes on. Any thread may ask, also one that is
    // not of the team.
    uint64_t progress() const {
        const uint64_t phase = phase_.value(std::memory_order_relaxed);
        return phase << 32 | static_cast<uint32_t>(next_.load(std::memory_order_relaxed));
    }

    // The next piece of work's number, to be compared with how many there are.
    int take() { return next_.fetch_add(1, std::memory_order_relaxed); }

    static constexpr int kMaxThreads = 256;

  private:
    struct Start {
        Team* team;
        int thread;
    };

    static void* loop(void* argument) {
        const Start start = *static_cast<Start*>(argument);
        uint32_t seen = 0;
        for (;;) {
            start.team->news_.wait_while(seen);
            ++seen;
            if (start.team->work_ == nullptr) return nullptr;
            start.team->work_(start.team->context_, *start.team, start.thread);
            start.team->barrier();
        }
    }

    int count_;
    Work work_ = nullptr;
    void* context_ = nullptr;
    pthread_t threads_[kMaxThreads];
    Start starts_[kMaxThreads];
    Signal news_;
    alignas(64) std::atomic<uint32_t> arrived_{0};
    Signal phase_;
    alignas(64) std::atomic<int> next_{0};
};

}  // namespace pw
