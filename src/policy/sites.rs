//! Which site a machine belongs to, by its addresses.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::domain::SiteId;

/// Returns the site of a machine with these addresses, the most telling first.
///
/// The first address that lies in any subnet decides, by its longest prefix; [`SiteId::DEFAULT`] if none does. Two subnets of one
/// length cannot both contain an address, so there are no ties. An IPv4 address in IPv6 form counts as IPv4.
#[must_use]
pub fn site_of(addresses: &[IpAddr], subnets: &[(IpNet, SiteId)]) -> SiteId {
    let longest = |address: IpAddr| {
        let around = subnets.iter().filter(|(subnet, _)| subnet.contains(&address));
        around.max_by_key(|(subnet, _)| subnet.prefix_len()).map(|(_, site)| *site)
    };
    addresses.iter().find_map(|address| longest(address.to_canonical())).unwrap_or(SiteId::DEFAULT)
}

/// A subnet that lies within one of another site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlap {
    /// The smaller one, which wins.
    pub inner: IpNet,
    /// Its site.
    pub inner_site: SiteId,
    /// The smallest one around it.
    pub outer: IpNet,
    /// Its site.
    pub outer_site: SiteId,
}

/// Finds the subnets that lie directly within one of another site: allowed, and worth a warning.
#[must_use]
pub fn overlaps(subnets: &[(IpNet, SiteId)]) -> Vec<Overlap> {
    let mut sorted: Vec<_> = subnets.iter().map(|(subnet, site)| (subnet.trunc(), *site)).collect();
    // Outer before inner: subnets nest or are apart, so those around the next one are always the end of a stack.
    sorted.sort_by_key(|(subnet, _)| (subnet.network(), subnet.prefix_len()));
    let mut around: Vec<(IpNet, SiteId)> = Vec::new();
    let mut found = Vec::new();
    for (inner, inner_site) in sorted {
        while around.pop_if(|(outer, _)| !outer.contains(&inner)).is_some() {}
        if let Some(&(outer, outer_site)) = around.last().filter(|(_, site)| *site != inner_site) {
            found.push(Overlap { inner, inner_site, outer, outer_site });
        }
        around.push((inner, inner_site));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(n: u128) -> SiteId {
        SiteId(uuid::Uuid::from_u128(n + 100))
    }

    fn nets(list: &[(&str, u128)]) -> Vec<(IpNet, SiteId)> {
        list.iter().map(|(net, n)| (net.parse().unwrap(), site(*n))).collect()
    }

    #[test]
    fn the_longest_prefix_of_the_first_address_in_any_subnet() {
        let subnets = nets(&[("10.0.0.0/8", 1), ("10.1.0.0/16", 2), ("10.1.2.0/24", 3), ("fd00::/8", 4), ("10.1.2.3/32", 5)]);
        let cases: [(&[&str], SiteId); 9] = [
            (&["10.9.9.9"], site(1)),
            (&["10.1.9.9"], site(2)),
            (&["10.1.2.9"], site(3)),
            (&["10.1.2.3"], site(5)),
            (&["fd00::1"], site(4)),
            (&["::ffff:10.1.2.9"], site(3)),
            (&["192.168.1.1"], SiteId::DEFAULT),
            (&["192.168.1.1", "10.9.9.9", "10.1.2.3"], site(1)),
            (&[], SiteId::DEFAULT),
        ];
        for (addresses, expected) in cases {
            let parsed: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
            assert_eq!(site_of(&parsed, &subnets), expected, "{addresses:?}");
        }
        let everything = nets(&[("0.0.0.0/0", 7)]);
        assert_eq!(site_of(&["203.0.113.9".parse().unwrap()], &everything), site(7));
        assert_eq!(site_of(&["2001:db8::1".parse().unwrap()], &everything), SiteId::DEFAULT);
    }

    #[test]
    fn overlaps_name_the_nearest_enclosing_subnet_of_another_site() {
        let found = |list: &[(&str, u128)]| -> Vec<(String, String)> {
            overlaps(&nets(list)).into_iter().map(|o| (o.inner.to_string(), o.outer.to_string())).collect()
        };
        let pair = |inner: &str, outer: &str| (inner.to_owned(), outer.to_owned());
        assert_eq!(found(&[("10.1.0.0/16", 1), ("10.2.0.0/16", 2), ("fd00::/8", 3)]), []);
        assert_eq!(found(&[("10.1.0.0/16", 2), ("10.0.0.0/8", 1)]), [pair("10.1.0.0/16", "10.0.0.0/8")]);
        assert_eq!(found(&[("10.0.0.0/8", 1), ("10.1.0.0/16", 1)]), [], "one site may nest its own");
        assert_eq!(
            found(&[("10.0.0.0/8", 1), ("10.0.0.0/16", 2), ("10.0.0.0/24", 3), ("10.1.0.0/16", 3), ("11.0.0.0/8", 4)]),
            [pair("10.0.0.0/16", "10.0.0.0/8"), pair("10.0.0.0/24", "10.0.0.0/16"), pair("10.1.0.0/16", "10.0.0.0/8")]
        );
        assert_eq!(found(&[("0.0.0.0/0", 1), ("::/0", 2)]), [], "the families never overlap");
    }
}
