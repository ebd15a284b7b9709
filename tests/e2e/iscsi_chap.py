"""CHAP from the initiator's side, by RFC 7143 §12.1.3 and RFC 1994, with hashlib."""

import hashlib
import os
import struct

from iscsi_peer import LOGIN_RESPONSE, RECEIVE_MAX, Peer, parse_text, text

HASHES = {"5": hashlib.md5, "6": hashlib.sha1, "7": hashlib.sha256, "8": hashlib.sha3_256}
AUTHENTICATION_FAILURE = 0x0201


def chap_response(algorithm, identifier, secret, challenge):
    return "0x" + HASHES[algorithm](bytes([int(identifier)]) + secret.encode() + challenge).hexdigest()


class ChapPeer(Peer):
    """Each step of an authenticated login by itself, so that a test may do any of them wrong."""

    def say(self, keys=(), transit=False, following=1):
        """A request of the security stage: (status, keys of the answer, whether the stage was left).
        Keys are pairs, since one may come twice."""
        data = b"".join(f"{key}={value}".encode() + b"\0" for key, value in keys)
        self.send(self.login_pdu(data, current=0, following=following if transit else 0, transit=transit))
        answer = self.receive()
        assert answer.opcode == LOGIN_RESPONSE
        status = struct.unpack_from(">H", answer.bhs, 36)[0]
        if status == 0:
            self.exp_stat_sn = (answer.stat_sn + 1) & 0xFFFFFFFF
            self.tsih = struct.unpack_from(">H", answer.bhs, 14)[0]
        return status, parse_text(answer.data), bool(answer.flags & 0x80)

    def offer(self, target=None, methods="CHAP,None", transit=False):
        """Who we are and which methods we would take."""
        keys = [("InitiatorName", "iqn.2026-01.test:peer"), ("SessionType", "Normal" if target else "Discovery")]
        keys += [("TargetName", target)] if target else []
        keys += [("AuthMethod", methods)] if methods is not None else []
        return self.say(keys, transit)

    def challenged(self, target=None, algorithms="7"):
        """As far as the target's challenge: (algorithm, identifier, challenge)."""
        status, keys, left = self.offer(target)
        assert (status, keys["AuthMethod"], left) == (0, "CHAP", False), (status, keys)
        status, keys, left = self.say([("CHAP_A", algorithms)])
        assert (status, left) == (0, False), (status, keys)
        return keys["CHAP_A"], keys["CHAP_I"], bytes.fromhex(keys["CHAP_C"][2:])

    def authenticate(self, target, user, secret, algorithms="7", mutual=None):
        """The whole login. `mutual` is the pair that the target must prove to be. Returns the status."""
        algorithm, identifier, challenge = self.challenged(target, algorithms)
        keys = [("CHAP_N", user), ("CHAP_R", chap_response(algorithm, identifier, secret, challenge))]
        ours = os.urandom(24)
        keys += [("CHAP_I", "200"), ("CHAP_C", "0x" + ours.hex())] if mutual else []
        status, answer, left = self.say(keys, transit=True)
        if status:
            assert not answer
            return status
        assert left
        if mutual:
            assert answer["CHAP_N"] == mutual[0]
            assert answer["CHAP_R"] == chap_response(algorithm, "200", mutual[1], ours)
        else:
            assert not answer.keys() & {"CHAP_N", "CHAP_R"}
        said = {"HeaderDigest": "None", "DataDigest": "None", "MaxRecvDataSegmentLength": RECEIVE_MAX}
        said |= {"InitialR2T": "No", "ImmediateData": "Yes", "FirstBurstLength": 65536} if target else {}
        self.send(self.login_pdu(text(**said)))
        return self.finish_login()
