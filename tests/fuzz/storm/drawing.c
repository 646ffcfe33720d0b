// SPDX-License-Identifier: Apache-2.0
// Numbers that follow from a seed (splitmix64), and those that headers are often wrong about.
#include "storm.h"

static const __u8 EDGES[] = { 0,  1,  2,  3,  4,  5,  6,  7,  8,  16,  17,  20,  40,  43,
			      44, 58, 59, 60, 64, 69, 96, 127, 128, 132, 134, 135, 136, 254, 255 };

__u64 drawn(struct draw *draw)
{
	__u64 mixed = draw->state += 0x9e3779b97f4a7c15;

	mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9;
	mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111eb;
	return mixed ^ mixed >> 31;
}

__u32 below(struct draw *draw, __u32 limit)
{
	return (drawn(draw) >> 32) * limit >> 32;
}

__u32 edge(struct draw *draw)
{
	return EDGES[below(draw, sizeof(EDGES))];
}

// A number of one, two or four bytes that is not, or hardly, what it was.
__u32 oddly(struct draw *draw, __u32 was, __u32 bytes)
{
	__u32 bits = 8 * bytes;
	__u64 mask = (1ull << bits) - 1;

	switch (below(draw, 6)) {
	case 0:
		return (was ^ 1u << below(draw, bits)) & mask;
	case 1:
		return (was + 1) & mask;
	case 2:
		return (was - 1) & mask;
	case 3:
		return edge(draw);
	case 4:
		return (__u64)edge(draw) << (bits - 8) & mask;
	default:
		return drawn(draw) & mask;
	}
}
