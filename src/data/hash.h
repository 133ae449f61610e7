// A 64-bit hash of bytes, for tables and fingerprints. Not for secrets. The same on every little-endian machine.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>

// Folds the 128-bit product of two numbers.
static inline uint64_t qn_hash_mix(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)(a ^ 0x9E3779B97F4A7C15u) * (b ^ 0xD1B54A32D192ED03u);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

// Goes on from `hash`: the hash of a row of pieces depends on the order and the size of each.
static inline uint64_t qn_hash(uint64_t hash, const void *data, size_t size) {
    const unsigned char *at = data;
    size_t left = size;
    uint64_t word;
    for (; left >= 8; at += 8, left -= 8) {
        memcpy(&word, at, 8);
        hash = qn_hash_mix(hash, word);
    }
    word = 0;
    if (left > 0) memcpy(&word, at, left);
    return qn_hash_mix(qn_hash_mix(hash, word), size);
}
