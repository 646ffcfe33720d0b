/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* What the kernel gives a program, declared from its UAPI alone (include/uapi/linux/bpf.h): helpers by
 * number, map definitions as libbpf reads them from BTF, sections, byte order. */
#ifndef CLOCHE_HELPERS_H
#define CLOCHE_HELPERS_H

#include <linux/types.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
/* A global function: the verifier checks it once, on its own, whoever calls it. */
#define STAGE __attribute__((noinline))

#define __uint(name, value) int(*name)[value]
#define __type(name, value) __typeof__(value) *name

#define likely(condition) __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)
#define barrier() __asm__ volatile("" ::: "memory")
#define READ_ONCE(x) (*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, value) (*(volatile __typeof__(x) *)&(x) = (value))

/* Hosts are little-endian (x86-64, arm64); the object is compiled for such. */
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "little-endian hosts only"
#endif
#define swap16(x) __builtin_bswap16(x)
#define swap32(x) __builtin_bswap32(x)
#define swap64(x) __builtin_bswap64(x)

#define HELPER(result, name, ...) \
	static result (*const bpf_##name)(__VA_ARGS__) = (result(*)(__VA_ARGS__))(unsigned long)BPF_FUNC_##name
HELPER(void *, map_lookup_elem, void *map, const void *key);
HELPER(long, map_update_elem, void *map, const void *key, const void *value, __u64 flags);
HELPER(long, map_delete_elem, void *map, const void *key);
HELPER(long, for_each_map_elem, void *map, void *callback, void *context, __u64 flags);
HELPER(long, loop, __u32 times, void *callback, void *context, __u64 flags);
HELPER(__u64, ktime_get_coarse_ns, void);
HELPER(long, skb_load_bytes, const void *skb, __u32 offset, void *to, __u32 length);
HELPER(long, skb_load_bytes_relative, const void *skb, __u32 offset, void *to, __u32 length, __u32 from);
HELPER(long, skb_store_bytes, void *skb, __u32 offset, const void *from, __u32 length, __u64 flags);
HELPER(long, l3_csum_replace, void *skb, __u32 offset, __u64 from, __u64 to, __u64 flags);
HELPER(long, l4_csum_replace, void *skb, __u32 offset, __u64 from, __u64 to, __u64 flags);
HELPER(__s64, csum_diff, const void *from, __u32 from_size, const void *to, __u32 to_size, __u32 seed);
HELPER(long, skb_change_tail, void *skb, __u32 length, __u64 flags);
HELPER(long, skb_adjust_room, void *skb, __s32 difference, __u32 mode, __u64 flags);
HELPER(long, skb_change_type, void *skb, __u32 type);
HELPER(long, redirect, __u32 ifindex, __u64 flags);
HELPER(long, redirect_peer, __u32 ifindex, __u64 flags);
HELPER(void *, ringbuf_reserve, void *ring, __u64 size, __u64 flags);
HELPER(void, ringbuf_submit, void *data, __u64 flags);

#endif
