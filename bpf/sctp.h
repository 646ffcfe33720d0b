/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* SCTP's checksum, CRC32c (RFC 9260, appendix A), after a change of its first four bytes, the ports. A CRC is
 * linear: the change of the checksum is the CRC, without the inversions, of the change of the packet, which is
 * four bytes and then zeroes to its end: those four bytes times x^(8 * length) modulo the polynomial. */
#ifndef CLOCHE_SCTP_H
#define CLOCHE_SCTP_H

#include "context.h"

#define SCTP_CHECKSUM 8
#define CRC32C_POLYNOMIAL 0x82f63b78u /* reflected: bit 31 is x^0 */
#define CRC32C_ONE 0x80000000u

/* x^(8 * 2^i) modulo the polynomial, reflected. */
static const __u32 crc32c_shifts[16] = {
	0x00800000, 0x00008000, 0x82f63b78, 0x6ea2d55c, 0x18b8ea18, 0x510ac59a, 0xb82be955, 0xb8fdb1e7,
	0x88e56f72, 0x74c360a4, 0xe4172b16, 0x0d65762a, 0x35d73a62, 0x28461564, 0xbf455269, 0xe2ea32dc,
};

/* The product of two polynomials modulo the polynomial, reflected; no branches, for the verifier's sake. */
INLINE __u32 crc32c_multiply(__u32 one, __u32 other)
{
	__u32 product = 0, i;

	for (i = 0; i < 32; i++) {
		product ^= other & -(one >> 31);
		one <<= 1;
		other = (other >> 1) ^ (CRC32C_POLYNOMIAL & -(other & 1));
	}
	return product;
}

/* What a change of a packet's first four bytes (as loaded, little-endian) does to its checksum. */
STAGE __u32 crc32c_change(__u32 change, __u32 length)
{
	__u32 zeroes = length & 0xffff, i;

	for (i = 0; i < 16; i++) {
		__u32 factor = zeroes >> i & 1 ? crc32c_shifts[i] : CRC32C_ONE;

		change = crc32c_multiply(factor, change);
	}
	return change;
}

/* Repairs the checksum at an offset; one of zero is partial, its owner computes it later. */
INLINE int sctp_repair(struct __sk_buff *skb, __u32 offset, __u32 change, __u32 length)
{
	__u32 checksum;

	if (bpf_skb_load_bytes(skb, offset, &checksum, 4))
		return -1;
	if (!checksum)
		return 0;
	checksum ^= crc32c_change(change, length);
	return bpf_skb_store_bytes(skb, offset, &checksum, 4, 0);
}

#endif
