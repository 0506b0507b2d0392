// The threads of one block, run one after the other on one stack each: every thread runs until it waits for the others.
#pragma once

#include <cstddef>
#include <cstdint>

namespace softcuda
{
constexpr int kWarp = 32, kLargestDeposit = 64;

/// What a warp's lanes hand to one another: each deposits, the last one to come computes, all take their share.
struct Warp
{
    alignas(16) unsigned char deposits[kWarp][kLargestDeposit];
    alignas(16) unsigned char results[kWarp][kLargestDeposit];
    const void* operation; // what the lanes that have arrived are doing
    int arrived;
    unsigned generation;
};

/// One asynchronous copy that was issued and not yet waited for.
struct PendingCopy
{
    void* to;
    const void* from;
    int valid;
};

/// One copy to shared memory that reports to a barrier; whoever waits there carries it out.
struct BulkCopy
{
    void* to;
    const void* from;
    unsigned bytes;
    uint64_t* barrier;
};

/// One product of a warp group that was issued and not yet waited for, as one thread has a share in it.
struct GroupProduct
{
    void (*multiply)(const GroupProduct& product);
    void* sums;
    uint64_t a, b;
};

/// The block that runs, as its threads see it.
struct Block
{
    int index_x, index_y, grid_x, threads;
    unsigned char* shared;
};

extern thread_local Block block;
extern thread_local int thread; // index of the running thread of the block

/// Waits for all threads of the block that have not returned.
void sync_block();

/// The running thread's warp; a warp that the block does not fill has no collective operations.
Warp& warp();

/// Marks the lane as arrived; the last lane to come gets true and must call `complete`, the others return once it did.
bool arrive(const void* operation);
void complete();

void copy_async(void* to, const void* from, int valid);
void copy_async_commit();
void copy_async_wait(int pending);

void barrier_create(uint64_t* barrier);
void barrier_expect(uint64_t* barrier, unsigned bytes);
void barrier_wait(uint64_t* barrier, unsigned parity);
void copy_bulk(const BulkCopy& copy);

void group_multiply(const GroupProduct& product);
void group_commit();
void group_wait(int pending);

/// Ends the block with an error.
void fail(const char* error);

/// Runs all threads of a block. Returns null, or what went wrong: a deadlock, lanes that diverge in a collective operation.
const char* run_block(void (*body)(void*), void* argument);
} // namespace softcuda
