"""Quern's noise for texts that a model restores (src/data/noise.c), drawn again: the same seed, epoch and number of a text give the same
tokens."""
import math

M32, M64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
SEED_OF_NOISE = 0x6E6F6973652E2E2E


class Random:
    """The generator of src/base/rng.h: Philox4x32-10 along one stream."""

    def __init__(self, seed, stream, counter):
        self.seed, self.stream, self.counter = seed & M64, stream, counter

    def u64(self):
        c0, c1, c2, c3 = self.counter & M32, self.counter >> 32, self.stream & M32, self.stream >> 32
        k0, k1 = self.seed & M32, self.seed >> 32
        for _ in range(10):
            p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
            c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & M32, (p0 >> 32) ^ c3 ^ k1, p0 & M32
            k0, k1 = (k0 + 0x9E3779B9) & M32, (k1 + 0xBB67AE85) & M32
        self.counter += 1
        return c1 << 32 | c0

    def real(self):
        return (self.u64() >> 11) * 2.0**-53

    def below(self, n):
        return self.u64() * n >> 64


class Noise:
    """special, ends: sets of the ids that stay, and of those that end a sentence; continues(id): it goes on with the word before it."""

    def __init__(self, special, ends=(), continues=None, mask_id=None, permute=0.0, infill=0.0, span=3.0, deletion=0.0, mask=0.0, words=False,
                 max_length=512, seed=0):
        self.special, self.ends, self.continues, self.mask_id = set(special), set(ends), continues or (lambda id: False), mask_id
        self.permute, self.infill, self.span, self.deletion, self.mask = permute, infill, span, deletion, mask
        self.words, self.max_length, self.seed = words, max_length, seed
        self.start = infill / (span * (1 - infill) + infill * (1 - math.exp(-span))) if infill else 0

    def __call__(self, ids, example, epoch=0, stream=0):
        """The tokens that are left of one text."""
        self.random = Random(self.seed ^ SEED_OF_NOISE, stream << 32 | example, epoch << 32)
        head, end = 0, len(ids)
        while head < end and ids[head] in self.special:
            head += 1
        while end > head and ids[end - 1] in self.special:
            end -= 1
        body = self.permuted(ids[head:end]) if self.permute else ids[head:end]
        out, at, left = list(ids[:head]), 0, False
        while at < len(body):
            if body[at] in self.special:
                out.append(body[at])
                at += 1
                continue
            if self.infill and self.random.real() < self.start:
                count = self.poisson()
                if count or len(out) + len(ids) - head - at < self.max_length:
                    out.append(self.mask_id)
                for _ in range(count):
                    if at < len(body) and body[at] not in self.special:
                        at = self.unit_end(body, at)
                left = True
                if count:
                    continue
            stop = self.unit_end(body, at)
            if not (self.deletion and self.random.real() < self.deletion):
                masked = self.mask and self.random.real() < self.mask
                out += [self.mask_id] * (stop - at) if masked else body[at:stop]
                left = True
            at = stop
        if not left:
            units, at = [], 0
            while at < len(body):
                stop = self.unit_end(body, at)
                if body[at] not in self.special:
                    units.append(body[at:stop])
                at = stop
            if units:
                out += units[self.random.below(len(units))]
        return out + list(ids[end:])

    def unit_end(self, body, at):
        stop = at + 1
        while self.words and stop < len(body) and self.continues(body[stop]) and body[stop] not in self.special:
            stop += 1
        return stop

    def poisson(self):
        u, k, p = self.random.real(), 0, math.exp(-self.span)
        total = p
        while u >= total and k < 1000:
            k += 1
            p *= self.span / k
            total += p
        return k

    def permuted(self, body):
        stops, begins = self.special | self.ends, []
        for i, id in enumerate(body):
            ended = i > 0 and body[i - 1] in stops and not self.continues(id)
            if i == 0 or (ended and id not in stops):
                begins.append(i)
        sentences = [body[a:b] for a, b in zip(begins, begins[1:] + [len(body)])]
        count = len(sentences)
        if count < 2:
            return body
        moved, chosen, place = math.ceil(self.permute * count), list(range(count)), list(range(count))
        for i in range(moved):
            j = i + self.random.below(count - i)
            chosen[i], chosen[j] = chosen[j], chosen[i]
        for i in range(moved - 1):
            a, b = chosen[i], chosen[i + self.random.below(moved - i)]
            place[a], place[b] = place[b], place[a]
        return [id for k in place for id in sentences[k]]
