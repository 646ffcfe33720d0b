// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Does nothing: what the kernel's statistics say that it takes is their own cost. */
struct __sk_buff;

char _license[] __attribute__((section("license"), used)) = "Dual BSD/GPL";

__attribute__((section("tc"), used)) int empty(struct __sk_buff *skb)
{
	return 0;
}
