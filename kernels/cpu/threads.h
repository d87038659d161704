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

// Waits a short while by spinning, as the others are microseconds away, then gives the core up.
class Patience {
  public:
    // True when it is time to sleep. A yield first: on a machine with few cores the one waited for may want this one.
    bool exhausted() {
        ++turns_;
        if (turns_ < kSpins) {
            _mm_pause();
            return false;
        }
        sched_yield();
        return turns_ > kSpins + kYields;
    }

  private:
    static constexpr int kSpins = 2000;
    static constexpr int kYields = 50;
    int turns_ = 0;
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
        announce();
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
        announce();
        work(context, *this, 0);
        barrier();
    }

    // Until every thread is here. What they wrote is then seen by all, and handing out starts again from 0.
    void barrier() {
        const uint32_t phase = phase_.load(std::memory_order_relaxed);
        if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == static_cast<uint32_t>(count_)) {
            arrived_.store(0, std::memory_order_relaxed);
            next_.store(0, std::memory_order_relaxed);
            phase_.store(phase + 1, std::memory_order_release);
            return;
        }
        int turns = 0;
        while (phase_.load(std::memory_order_acquire) == phase) {
            if (++turns < 4000)
                _mm_pause();
            else
                sched_yield();
        }
    }

    // The barriers passed so far, and the pieces handed out since: changes while work goes on. Any thread may ask, also one that is
    // not of the team.
    uint64_t progress() const {
        const uint64_t phase = phase_.load(std::memory_order_relaxed);
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
            start.team->wait_for_news(seen);
            ++seen;
            if (start.team->work_ == nullptr) return nullptr;
            start.team->work_(start.team->context_, *start.team, start.thread);
            start.team->barrier();
        }
    }

    void wait_for_news(uint32_t seen) {
        Patience patience;
        while (news_.load(std::memory_order_acquire) == seen) {
            if (!patience.exhausted()) continue;
            sleepers_.fetch_add(1);
            syscall(SYS_futex, reinterpret_cast<uint32_t*>(&news_), FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
            sleepers_.fetch_sub(1);
        }
    }

    void announce() {
        news_.fetch_add(1);
        if (sleepers_.load() > 0)
            syscall(SYS_futex, reinterpret_cast<uint32_t*>(&news_), FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
    }

    int count_;
    Work work_ = nullptr;
    void* context_ = nullptr;
    pthread_t threads_[kMaxThreads];
    Start starts_[kMaxThreads];
    alignas(64) std::atomic<uint32_t> news_{0};
    std::atomic<uint32_t> sleepers_{0};
    alignas(64) std::atomic<uint32_t> arrived_{0};
    alignas(64) std::atomic<uint32_t> phase_{0};
    alignas(64) std::atomic<int> next_{0};
};

}  // namespace pw
