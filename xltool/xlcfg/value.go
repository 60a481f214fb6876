package xlcfg

import (
	"errors"
	"strconv"
	"strings"
)

var (
	errNotNumber = errors.New("not a number; write decimal (512), hexadecimal (0x200) or octal (01000) digits only")
	errTooLarge  = errors.New("too large a number; it has to fit 63 bits")
)

// parseNumber reads xl's numbers: decimal, 0x hexadecimal, 0 octal.
func parseNumber(s string) (int64, error) {
	digits, base := s, 10
	neg := strings.HasPrefix(s, "-")
	if neg {
		digits = s[1:]
	}
	switch {
	case len(digits) > 2 && (strings.HasPrefix(digits, "0x") || strings.HasPrefix(digits, "0X")):
		digits, base = digits[2:], 16
	case len(digits) > 1 && digits[0] == '0':
		digits, base = digits[1:], 8
	}
	n, err := strconv.ParseUint(digits, base, 63)
	if errors.Is(err, strconv.ErrRange) {
		return 0, errTooLarge
	}
	if err != nil {
		return 0, errNotNumber
	}
	if neg {
		return -int64(n), nil
	}
	return int64(n), nil
}

// suggest returns the word of known that word most likely means, or "".
func suggest(word string, known []string) string {
	word = strings.ToLower(word)
	best, bestDist := "", 1+len(word)/3
	for _, k := range known {
		if d := editDistance(word, k, bestDist); d <= bestDist && (best == "" || d < bestDist) {
			best, bestDist = k, d
		}
	}
	return best
}

// editDistance counts the insertions, deletions, replacements and swaps of
// neighbours from a to b, up to limit+1.
func editDistance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}

// Suggest returns what word most likely means among known, or "": for
// commands, as for keys.
func Suggest(word string, known []string) string { return suggest(word, known) }
