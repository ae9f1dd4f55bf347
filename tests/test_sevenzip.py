"""7z archives: what comes out of them, and what is said of those that are not read."""

from __future__ import annotations

import base64
import struct
from zlib import crc32

import pytest

from tests import hostile
from weightkit.analyses.scanning import scan_reader
from weightkit.archives import Budget
from weightkit.archives.sevenzip import read_7z
from weightkit.errors import FormatError
from weightkit.findings import ScannedFile
from weightkit.rules import Faults
from weightkit.source import Buffer

CALL = b"\x80\x04cos\nsystem\n(X\x02\x00\x00\x00idtR."
PLAIN = b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01K\x01s."

# Made by py7zr 1.1: m/data.pkl (CALL), m/plain.pkl (PLAIN) and the empty m/empty.pkl.
MADE = {
    "lzma2 and a filter (the default)": (
        "H+sCUCma9-5+DbguK)l500000761SM00000sHx<V0RSj~1Y>V=3UhgLbY*P{C|Cjj003!ZbW$#W0)24+SOEY40AX<fO968(0N?<s0D4^j0D&_Ht`E@DZG4|O5S(o4RvM1s&O#ga-HLr-`YLUp>DAmsC_k><cZB6{ZDdRpKlCL!tZ$$3q-t8Ey>!;NVzHC=^uh!7^TW6S!;l1RoMGb;-Hk}rqZRk$ACSphosOdL0K}Omea}-;K*7DM#I!2y@FJ)H0000N1}y;zfPw%A3jqKDAt3=641lWu00"
    ),
    "lzma2": (
        "H+sCUCma9-|9_6`r~m)}000006#xJL000000(F8B0RSj~1Y>V=3UhgLbY*P{C|Cjj003!ZbW$#W0)24+SOEY40AX<fO968(0N?<k0CQac0D&_Ht`E@DZG4|UM?nMxGB@V#*Aa^7J3C*(wL(pyJ5SA;69#0=lMBtIce{Mq{%70|%~k+EJZ&Xm!&+kjw%4Fw=$jy)5+Fbxw{*S}mhf*C?c+(}un81o`F=lJ9Jb+1Kp_+e*yKf7pJl>v000007X~c>33~ts3jqKDAt3=641l8m00"
    ),
    "lzma": (
        "H+sCUCma9-bYyW`wg3PC00000761SM00000rAL>I06+l<1H3T3G~O>>CeUf~Kd_jeJ%73Kxh6UsOj%YBws&X_M~j-VmKvoR3}65M#R>ob-~g@wdR+hjfinlL579kdETE8}cd-7GhvBLoq=LK1Yjd20b6K~QGjK3QoG`Mlt4a!^9Z~+HcyR))mcIbE^$cilD(}SJbBMRsBlLvVcPo`|bmCSrA6f{W)Dnlw$@k!wrWa~3V~{wpRXslNk1by29wvQ(!YS;a-qZj9000*TGyw^Kf&d2#0RRCZApsZ+fUf`m"
    ),
    "lzma and a filter": (
        "H+sCUCma9--L^mvz5oCK00000761SM00000A}X=$06+l<1H3T3G~O>>CeUf~Kd_jeJ%73Kxh6UsOj%YBws&X_M~j-VmKvoR3}65M#R>ob-~hG&f?WUrfinlL579kdETD>Mu+Z<v$n-LDUiM%8v7aN&V+_rdm%%^Tmnp^jusE8>mhrN|rO)3+f*Dd(agRI8*83%&2dd&CKp|8cl4Gw>p573DrhV9y(V0!h)l%0!TSwLb)X{KCX%b{Jl*G{OM91j9j1+U2X@co@S_O3*0U`hZ000*TGyw^KiU0=-0RRCZApsZ+fVThu"
    ),
    "deflate": (
        "H+sCUCma9-Qhvv~r2qf`000006#xJL00000m4FikYhX#vFXk$)EG|jS<<f{?Vqjp%OeqP{YhbD^WQbq{auW*~y%~%30N?<k0CZgd0D&_Ht`E?b<b0n$M?2@y9)grPRQ%mhv>YGUkr${cV`-ws^P*uSZl^%kMxWwzOtwnSm-)URXl4$!Ji$4vLpb!l>%+beiJ~p&z?y7c{K#paTt6OcjWQZZ_VCI8JfoM{Tte7D33k1%R+Ik(V*mgE02c-+0SSBn2MYlJ0U;p)7z}`;000"
    ),
    "bzip2": (
        "H+sCUCma9-w<2@6&;S4c000006#xJL00000vB~XVLRx4!F+o`-Q(5=G>u3M~6j#7>5CA~{2oOLnBCH}n03ZM&DeY50{YH_esl8C30}-a0G;kXZ#B>v4Oat+UiKesaoRxKU%5TNokxmpOJ@7i(0N?<k0CQac0D&_Ht`E}z^gTepkj~}HcJ@8Afe9TU!cIE;Ql{ebay@d^So|(|d=xA!&-4oMAoIq+g7|`y0-4LwY)d^~wVBVBvRciEp3onKm{oDTmQ{TVoKJ`Bm-i9ex_fw^(uwb?PQ4_i`xOJx=IyP-000007Y0=U33~ts3jqKDAt3=641l8m00"
    ),
    "stored": (
        "H+sCUCma9-l*g;fqyPW_000006#xJL00000JkaC+fCOW2a|&~Lb97~G3Mg0t0001KWOPz4fC7DS09XM4003ce0ZRdMF5m#B0CQac0D&_Ht`E?b<b0n$M`u4Lnb2=OFCLWN-Wy{o3rHnV|MuOz;igc%_wc8oV}}eb9LEQo+aEdz4p?q&k@P`Xu;=G8ws0dTzH8Uj^u&<jdP+Nf7JnX#=V!v#e$sAKzN!~CyT6!_D9@?1gwNMN000007X~Q-33~ts3jqKDAt3=641lKq00"
    ),
    "zstd": (
        "H+sCUCma9-s6c`twEzGB00000761SM00000;Y-}7D77#B07yvz0DuHzZ*vNBd2@7SZ3-w@0ssI2X=HR#E`S1kaR68W0001CaREyKb1vWjt^j*o004nA2d)p%9~m^Dkf3+lo!&1umqTutk2Et5e4C9Nl9E+Zo#Mn+LFrdy%xdP;jJ4n2`(lb-yw?;D7OXRTmJ78nVN>#6kTFO0qh>kU?nR%Rm1fP5G`Dr$v2847%K*F7snKV6{`d%ASUReUy<E{=bq>)48~^|S02c-_0SSPE00#>J00AK(0T>K`uK)l"
    ),
    "encrypted": (
        "H+sCUCma9-?c>Mm&Hw-a00000761SM00000GTXbvk8OzFB7v{}XuWK$Z8@S<WkkxT=%x*4+E}hseNH>-xwSRE!5d7&Md4UIgmc?>-~h$|mR$e<finlL577Z46cp)8+#-eyRl@%<q>0~RRS>3GZbZP}=1fO%Gp^vm{GhJ$P+1(FK#o=hWI&R~AGJj06udkK#EAt6!rf@+tfd37aaE8Y`E8tvH}i3^j>|60Rk4T7hlIQPY(5Xq<rc!9Y7FY_+>O!iZ8xWUiu3i;`cDv{L!A`q5!0P&#RbkTO%ob3e`o*z000*TFaZgGo&X060RRCZApsZ+fX4s;"
    ),
    "plain header": (
        "H+sCUCma9-8G-k%8~^|S00000Q2+n{00000b8vrp0RR_(1Y>V=3UhgLbY*P{C|Cjj003!ZbW$z=0R#pB0SO!c2MYlJ0wEy*7z6_Y0RsU53>X*y2nqr0XOzzX00jXV0{{R35e)!g04@M<0BZnj0000K3IPD{)8DNrecb^S1_1ydfPjGj00"
    ),
    "encrypted header": (
        "H+sCUCma9-jc?odkN^Mx00000C;$Ke00000H7bdVGLv9^V$ExFc)?y)eq)0*#h^@N_@boCJ?^FcpkL~2A>}7{Z?rjqOrV&ET}chfUcgfa7}6N{NuU!$vF_)uy3ef#K?J>z!FWGVUlz(hZ+&N=qQ*%WqJ1=Z@QQbGPF136<L{#FEtO+UaCmZ`34DaQYGwX&#}G=w!|Pn>G-z+j3Z5OBag{yoLtfh{7X}~!32*=h3jqKDBnI&Z0TNRW5dNqC;ic~x04Zs;WPLBP3}pZS"
    ),
}
UNREAD = ("zstd", "encrypted", "encrypted header")


def blob(what: str) -> bytes:
    return base64.b85decode(MADE[what])


def scanned(content: bytes) -> ScannedFile:
    return scan_reader(Buffer(content, "x.7z"))


def packed(header: bytes, streams: bytes = b"") -> bytes:
    start = struct.pack("<QQI", len(streams), len(header), crc32(header))
    return b"7z\xbc\xaf\x27\x1c\0\4" + struct.pack("<I", crc32(start)) + start + streams + header


def stored(name: str, content: bytes) -> bytes:
    """A file that is not compressed, under a header that is not packed."""
    size = b"\xff" + struct.pack("<Q", len(content))
    streams = b"\4\6\0\1\x09" + size + b"\0\7\x0b\1\0\1\1\0\x0c" + size + b"\0\0"
    names = b"\0" + f"{name}\0".encode("utf-16-le")
    files = b"\5\1\x11" + bytes([len(names)]) + names + b"\0"
    return packed(b"\1" + streams + files + b"\0", content)


@pytest.mark.parametrize("what", [what for what in MADE if what not in UNREAD])
def test_files_come_out_as_they_went_in(what: str) -> None:
    faults = Faults("x.7z")
    found = {item.name: item.content for item in read_7z(Buffer(blob(what)), Budget(), faults)}
    assert faults.all() == ()
    held = {name: reader.pread(0, reader.size) for name, reader in found.items() if reader}
    if what == "plain header":
        assert held == {"a.pkl": CALL}
    else:
        assert held == {"m/data.pkl": CALL, "m/plain.pkl": PLAIN, "m/empty.pkl": b""}
    assert scanned(blob(what)).verdict == "unsafe"


@pytest.mark.parametrize("what", UNREAD)
def test_what_is_not_read_is_unscanned(what: str) -> None:
    found = scanned(blob(what))
    assert found.verdict == "unscanned"
    assert [item.code for item in found.findings] == ["WK415"]
    assert ("encrypted" in found.findings[0].message) == what.startswith("encrypted")


def test_an_ordinary_archive_is_safe() -> None:
    assert scanned(stored("a.pkl", PLAIN)).verdict == "safe"


def test_a_member_that_leaves_the_folder() -> None:
    found = scanned(stored("../../a.pkl", PLAIN))
    assert "WK416" in {item.code for item in found.findings}
    assert found.verdict == "unsafe"


@pytest.mark.parametrize(
    ("content", "code"),
    {
        "no header": (packed(b""), ""),
        "cut off": (stored("a", PLAIN)[:-3], "WK001"),
        "a header as long as a lie": (b"7z\xbc\xaf\x27\x1c\0\4" + b"\xff" * 24, "WK002"),
        "an entry of no kind": (packed(b"\1\x2a"), "WK441"),
        "no header at all": (packed(b"\2\0"), "WK441"),
        "a million files": (packed(b"\1\5\xe0\0\0\x10\0"), "WK002"),
        "a file without bytes": (packed(b"\1\5\1\0\0"), "WK441"),
        "a wrong checksum": (
            stored("a.pkl", PLAIN)[:8] + b"abcd" + stored("a.pkl", PLAIN)[12:],
            "WK420",
        ),
        "bytes behind it": (stored("a.pkl", PLAIN) + b"more", "WK413"),
        "streams behind the end": (packed(b"\1\4\6\x7f\1\x09\5\0\7\x0b\1\0\1\1\0\x0c\5\0\0\0"), ""),
    }.values(),
)
def test_broken_archives(content: bytes, code: str) -> None:
    found = scanned(content)
    assert code == "" or code in {item.code for item in found.findings}


def test_a_stream_that_unpacks_to_more_than_is_allowed() -> None:
    faults = Faults("x.7z")
    list(read_7z(Buffer(stored("a.pkl", bytes(100))), Budget(nbytes=10), faults))
    assert [item.code for item in faults.all()] == ["WK002"]


def test_every_byte_flipped_is_told_or_read() -> None:
    for what in ("lzma2", "stored", "plain header"):
        content = blob(what)
        for at in range(len(content)):
            for flip in (1, 0x80, 0xFF):
                changed = bytearray(content)
                changed[at] ^= flip
                verdict = hostile.judge(bytes(changed), scanned)
                assert not verdict.crashed, (what, at, flip, verdict)


def test_a_cut_anywhere_is_told() -> None:
    content = blob("lzma2 and a filter (the default)")
    for length in range(32, len(content)):
        found = scanned(content[:length])
        assert found.verdict != "safe", length
    with pytest.raises(FormatError) as caught:
        list(read_7z(Buffer(content[:40]), Budget(), Faults("x.7z")))
    assert caught.value.code == "WK001"
